"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
