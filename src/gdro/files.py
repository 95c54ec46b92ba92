"""Files that are whole or absent, and folders that are new."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from gdro.errors import GdroError


def write_json(path: Path, data: Any) -> None:
    """Write JSON by renaming into place, so that a file is whole or absent.

    Args:
        path: Target; its folder is made if missing.
        data: JSON data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(partial, path)


_MADE = ".made-by-gdro"


def fresh(folder: Path) -> Path:
    """A folder without what an earlier run of the same command left there.

    Args:
        folder: It is emptied if this function made it before.

    Returns:
        Its absolute path.

    Raises:
        GdroError: It holds something else.
    """
    folder = folder.absolute()
    if (folder / _MADE).exists():
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise GdroError(f"{folder} holds other files; give another --output, or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MADE).touch()
    return folder


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
