"""Progress bars: as they are on a terminal, a line now and then where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar, cast

T = TypeVar("T")
SECONDS = 60.0
"""Between two lines of a bar that is no terminal's."""


class Lines:
    """Turns a bar that writes over itself into lines of a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what the bar shows, if anything, as a line."""
        shown = text.strip("\r\n ")
        if shown:
            self._stream.write(f"{shown}\n")

    def flush(self) -> None:
        """As the stream's."""
        self._stream.flush()


def bar(finished: Iterable[T] | None = None, **options: Any) -> Any:
    """A tqdm bar on the error stream.

    Args:
        finished: What to go through, if the bar is not moved by hand.
        options: Of tqdm.
    """
    from tqdm.auto import tqdm

    if sys.stderr.isatty():
        return tqdm(finished, **options)
    import tqdm

    make: Any = tqdm.tqdm
    file = cast("TextIO", Lines(sys.stderr))
    quiet = {"file": file, "mininterval": SECONDS, "maxinterval": SECONDS, "ncols": 100, "leave": True}
    return make(finished, **{**options, **quiet})
