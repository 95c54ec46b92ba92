"""Paired-seed studies of strategies on small models, at equal rollouts.

The engine trains a small decoder with the same `Controller` and strategies as the trainers; what it
shows is about these controllers and small heavy-tailed tasks, not about language models.
"""

from gdro.errors import StudyError
from gdro.study.config import Study, load_study
from gdro.study.publish import publish
from gdro.study.runner import run_study
from gdro.study.testbed import Item, Testbed

__all__ = ["Item", "Study", "StudyError", "Testbed", "load_study", "publish", "run_study"]
