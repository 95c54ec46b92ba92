"""Paired-seed studies of strategies on small models, at equal rollouts.

The engine trains a small decoder with the same `Controller` and strategies as the trainers; what it
shows is about these controllers and small heavy-tailed tasks, not about language models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gdro.errors import StudyError
from gdro.study.config import Study, load_study
from gdro.study.testbed import Item, Testbed

if TYPE_CHECKING:
    from gdro.study.publication import publish
    from gdro.study.runner import run_study

__all__ = ["Item", "Study", "StudyError", "Testbed", "load_study", "publish", "run_study"]

# They need torch, scipy and a browser's figures: seconds that a misspelt study should not wait for.
_SLOW = {"publish": "gdro.study.publication", "run_study": "gdro.study.runner"}


def __getattr__(name: str) -> Any:
    if name not in _SLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SLOW[name]), name)
