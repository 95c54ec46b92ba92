"""Progress bars: redrawn on a terminal, one line per minute elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar, cast

T = TypeVar("T")
SECONDS = 60.0
"""Time between two lines of a bar that is not on a terminal."""


class Lines:
    """Converts a bar that overwrites itself to lines of a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write the state of the bar, if any, as a line."""
        shown = text.strip("\r\n ")
        if shown:
            self._stream.write(f"{shown}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def bar(finished: Iterable[T] | None = None, **options: Any) -> Any:
    """A tqdm bar on standard error over an iterable, or one that is updated by hand."""
    from tqdm.auto import tqdm

    if sys.stderr.isatty():
        return tqdm(finished, **options)
    import tqdm

    make: Any = tqdm.tqdm
    file = cast("TextIO", Lines(sys.stderr))
    quiet = {"file": file, "mininterval": SECONDS, "maxinterval": SECONDS, "ncols": 100, "leave": True}
    return make(finished, **{**options, **quiet})
