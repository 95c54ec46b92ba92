import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# It has no tests, and imports verl, which has an environment of its own.
collect_ignore = [f"chaos/{name}.py" for name in ("ray_cluster", "verl_job", "verl_nodes")]

# Derandomised: the same examples on every machine and in every run.
settings.register_profile("gdro", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("gdro")
# `make chaos` takes this one: another ten thousand in every run; a failure prints how to repeat it.
settings.register_profile(
    "chaos", deadline=None, database=None, max_examples=10_000, stateful_step_count=20, print_blob=True
)

# Files that take longest (half a minute and more), the longest first: begun last, one would run alone.
LONG = (
    *("test_resume", "test_trl", "test_servers", "test_examples", "test_browser", "test_forks"),
    *("test_contract", "test_smollm2", "test_study", "test_async_grpo", "test_canary", "test_machine"),
    *("test_cli", "test_memory", "test_hostile", "test_sitting", "test_differential", "test_disk"),
    *("test_surface", "test_strategies", "test_memory_turns", "test_verifier", "test_turns"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for workers, which take a file at a time."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_search() -> None:
    """Trainers collect garbage in each `train`, which would search all that was imported, every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def no_server_is_left() -> Iterator[None]:
    """One whose socket was closed under it takes all of a processor."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if "serve_forever" in thread.name:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} is left; end it with serving.running"
