"""Every error of gdro can be caught as one class, and as a ValueError."""

from __future__ import annotations

import gdro


def test_errors_are_value_errors():
    for name in gdro.__all__:
        cls = getattr(gdro, name)
        if isinstance(cls, type) and issubclass(cls, Exception):
            assert issubclass(cls, gdro.GdroError)
    assert issubclass(gdro.GdroError, ValueError)
