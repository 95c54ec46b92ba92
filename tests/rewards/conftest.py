"""One verifier for all tests of rewards: its workers take seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gdro.rewards import MathVerifier


@pytest.fixture(scope="session")
def verifier() -> Iterator[MathVerifier]:
    # More than any good answer takes, however busy the machine is.
    with MathVerifier(workers=2, timeout_s=10.0) as made:
        yield made
