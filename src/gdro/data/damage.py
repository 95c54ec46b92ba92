"""What is wrong with a dataset, or with one of its rows."""

from __future__ import annotations

from typing import Any

from gdro.errors import GdroError


class DataError(GdroError):
    """A dataset cannot be loaded, or lacks columns or rows."""


class Damaged(str):
    """The reason why a row cannot be read, in its place."""


class Truncated(Damaged):
    """The same of a last line that no newline ends: its writer was stopped."""


class Unfit(ValueError):
    """Why a cell cannot be a problem or an answer; its reader knows the row."""


Row = dict[str, Any] | Damaged
