"""Fields of a config that are read from source equal those of the class."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from trl import GRPOConfig

from gdro.recipes.declared import declared_fields

_MISTAKES = {
    "a misspelt option of TRL": ("train", "trl.lerning_rate=1"),
    "a misspelt key": ("train", "trll.learning_rate=1"),
    "a misspelt strategy": ("train", "--strategy", "unifrom"),
    "no such recipe": ("train", "--recipe", "nosuch"),
    "no such study": ("study", "nosuch.yaml"),
    "a misspelt key of a study": ("study", "studies/smoke.yaml", "traning.num_steps=3"),
    "no such log": ("report", "nosuch"),
}
_PROGRAM = """
import sys
from gdro.cli.app import main

code = main(sys.argv[1:])
print(sorted({"torch", "transformers", "trl", "scipy", "pandas", "datasets"} & set(sys.modules)))
raise SystemExit(code)
"""


def test_fields_are_those_of_the_class():
    fields = {field.name for field in dataclasses.fields(GRPOConfig)}
    assert declared_fields("trl.trainer.grpo_config", "GRPOConfig") == fields


@pytest.mark.parametrize(
    ("module", "name"), [("trl.trainer.grpo_config", "Other"), ("nosuch.package", "A"), ("json", "A")]
)
def test_what_cannot_be_read_is_empty(module, name):
    assert declared_fields(module, name) == set()


def test_modules_that_import_a_name_from_each_other_have_an_end(tmp_path, monkeypatch):
    (tmp_path / "first.py").write_text("from second import A\n")
    (tmp_path / "second.py").write_text("from first import A\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert declared_fields("first", "A") == set()


@pytest.mark.parametrize("words", _MISTAKES.values(), ids=_MISTAKES)
def test_a_mistake_is_told_before_anything_slow_is_imported(words):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (2, "[]"), done.stderr
