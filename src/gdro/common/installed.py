"""Whether a package is installed, without importing it."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def is_absent(package: str) -> bool:
    """Whether a package cannot be imported."""
    if package in sys.modules:
        return sys.modules[package] is None  # pyright: ignore[reportUnnecessaryComparison]
    try:
        return find_spec(package) is None
    except ImportError:
        return True
