"""One training process of a sitting, which ends when the sitting is gone, however that was ended.

    python worker.py FOLDER NUMBER WORKERS

The sitting holds the other end of the pipe at standard input. The system closes it with the sitting,
also after SIGKILL, and then this process exits and gives the GPU back.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a waiting thread would hold at the exit
        pass
    os.write(1, b"the sitting is gone, so this process ends\n")
    os._exit(1)


def main() -> None:
    """Watch the pipe first: libraries take seconds to load."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import arms

    from gdro.errors import GdroError

    try:
        arms.work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except GdroError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
