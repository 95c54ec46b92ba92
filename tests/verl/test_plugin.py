"""What the plugin imports, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LIGHT = """
import sys, verl
heavy = [n for n in sys.modules if n.startswith(("verl.trainer.ppo.v1", "gdro.integrations.verl."))]
assert heavy == ["gdro.integrations.verl.environment"], heavy
from verl.trainer.ppo.v1 import get_trainer_cls
import gdro.integrations.verl as plugin
for mode, name in (("gdro", "GDROTrainer"), ("gdro_colocate_async", "GDROColocateAsync")):
    assert get_trainer_cls(mode) is getattr(plugin, name), mode
"""
OWN = """
import gdro.integrations.verl as plugin
assert plugin.GDROSeparateAsync.__mro__[1].__name__ and plugin.VerlOptions
from verl.trainer.ppo.v1 import get_trainer_cls
assert get_trainer_cls("gdro") is plugin.GDROTrainer
try:
    plugin.GDROTrainr
except AttributeError as error:
    assert "GDROTrainr" in str(error)
"""


FIRST = """
import gdro.integrations.verl.{} as first, gdro.integrations.verl as plugin
from verl.trainer.ppo.v1 import get_trainer_cls
assert get_trainer_cls("gdro") is plugin.GDROTrainer and plugin.GDROColocateAsync
"""


def run(program: str, variables: dict[str, str]) -> None:
    given = {k: v for k, v in os.environ.items() if k != "VERL_USE_EXTERNAL_MODULES"} | variables
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_processes_without_a_trainer_import_none() -> None:
    run(LIGHT, {"VERL_USE_EXTERNAL_MODULES": "gdro.dry_run.verl.cpu,gdro.integrations.verl"})


def test_the_classes_are_there_for_who_imports_them() -> None:
    run(OWN, {"VERL_USE_EXTERNAL_MODULES": "gdro.dry_run.verl.cpu"})


SELDOM = [pytest.param(name, marks=pytest.mark.weekly) for name in ("trainer", "patches", "memory")]


@pytest.mark.parametrize("first", ["asynchronous", *SELDOM])
def test_any_part_may_be_imported_first(first: str) -> None:
    run(FIRST.format(first), {"VERL_USE_EXTERNAL_MODULES": "gdro.dry_run.verl.cpu"})
