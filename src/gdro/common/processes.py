"""How gdro starts Python processes, so that nothing in the working folder shadows a library."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("PYTHONHOME", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONUSERBASE"),
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Command that runs an installed module; `-m` alone would look in the working folder first."""
    return [sys.executable, "-P", "-m", module, *arguments]


def minimal_environment(given: Mapping[str, str], **more: str) -> dict[str, str]:
    """The variables that Python needs to start and to find the same modules, without any secrets.

    Empty entries of PYTHONPATH, which mean the working folder, are left out.
    """
    passed_on = {name: given[name] for name in _PASSED_ON if name in given}
    folders = [folder for folder in given.get("PYTHONPATH", "").split(os.pathsep) if folder]
    path = {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}
    return {**passed_on, **path, "PYTHONSAFEPATH": "1", **more}


@contextmanager
def safe_children() -> Generator[None]:
    """Processes that are spawned inside do not look for modules in the working folder first."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
