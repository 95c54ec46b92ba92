import gc
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# It has no tests, and imports verl, which has an environment of its own.
collect_ignore = ["chaos/verl_nodes.py"]

# Derandomised: the same examples on every machine and in every run.
settings.register_profile("gdro", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("gdro")
# `make chaos` takes this one: another ten thousand in every run; a failure prints how to repeat it.
settings.register_profile(
    "chaos", deadline=None, database=None, max_examples=10_000, stateful_step_count=20, print_blob=True
)


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_search() -> None:
    """Trainers collect garbage in each `train`, which would search all that was imported, every time."""
    gc.collect()
    gc.freeze()
