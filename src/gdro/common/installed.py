"""Whether a package is installed, without importing it."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def is_absent(package: str) -> bool:
    """Whether a package cannot be imported; a folder of its name without code is none."""
    if package in sys.modules:
        return sys.modules[package] is None  # pyright: ignore[reportUnnecessaryComparison]
    try:
        spec = find_spec(package)
        return spec is None or spec.origin is None
    except ImportError:
        return True
