"""Whether a package is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro.common.installed import is_absent


def test_a_folder_beside_a_script_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes any folder on its path for a package: results of vLLM would count as vLLM."""
    (tmp_path / "results_of_vllm").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_absent("results_of_vllm")
    (tmp_path / "results_of_vllm/__init__.py").touch()
    assert not is_absent("results_of_vllm")


def test_what_is_built_in_or_installed() -> None:
    assert not any(map(is_absent, ("sys", "numpy", "json")))
    assert is_absent("no_such_package") and is_absent("no_such_package.module")
