"""Which extra a missing package belongs to."""

from __future__ import annotations

import argparse

from gdro.common.installed import is_absent
from gdro.errors import GdroError

# By import name; a package of several extras is under the likeliest.
_TRL = ("torch", "trl", "transformers", "datasets", "accelerate", "peft", "tqdm", "omegaconf")
_PACKAGES = {
    "trl": (*_TRL, "yaml", "rich", "tokenizers", "pyarrow"),
    "report": ("vl_convert",),
    "study": ("scipy", "safetensors"),
    "math": ("math_verify",),
    "server": ("openai",),
    "lm": ("reasoning_gym", "gguf"),
}
_EXTRA = {package: extra for extra, packages in _PACKAGES.items() for package in packages}
_PAGE = ("omegaconf", "rich", "tqdm", "vl_convert")
_NEEDED = {
    "train": ("trl", ("torch", "trl", *_PAGE)),
    "simulate": ("trl", _PAGE),
    "study": ("study", ("torch", "safetensors", "scipy", *_PAGE)),
    "report": ("report", ("vl_convert",)),
    "diagnose": ("report", ("vl_convert",)),
    "data": ("trl", ("datasets", "rich")),
}


def check_packages(arguments: argparse.Namespace) -> None:
    """Raise before any work a GdroError that names missing packages, and the extras with them."""
    needed = _needed(arguments)
    absent = {extra: [p for p in packages if is_absent(p)] for extra, packages in needed.items()}
    absent = {extra: packages for extra, packages in absent.items() if packages}
    if absent:
        packages = ", ".join(dict.fromkeys(p for group in absent.values() for p in group))
        raise GdroError(
            f"gdro {arguments.command} needs {packages}; pip install 'gdro[{','.join(absent)}]'"
        )


def _needed(arguments: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Packages that a command needs, by the extra that brings them."""
    command = arguments.command
    needed: dict[str, tuple[str, ...]] = dict([_NEEDED[command]]) if command in _NEEDED else {}
    if command == "train" and arguments.seeds is not None:
        needed["study"] = ("scipy",)
    if command == "data" and arguments.check:
        needed["math"] = ("math_verify",)
    if command == "eval" and arguments.data is not None:
        needed["trl"] = ("datasets", "tqdm")
        if arguments.server is not None:
            needed["server"] = ("openai",)
        elif arguments.backend != "vllm":
            needed["trl"] += ("torch", "transformers")
    elif command == "eval" and arguments.rest[:1] not in (["compare"], ["table"]):
        needed["trl"] = ("torch", "trl", "omegaconf", "rich")
    return needed


def advice(error: ImportError, command: str) -> str:
    """The end of the message of a failed import: how to install the package, if that would help."""
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in _EXTRA:
        # The command's own extra may bring the package already.
        base, needed = _NEEDED.get(command, ("trl", ()))
        return f"; pip install 'gdro[{base if package in needed else _EXTRA[package]}]'"
    if isinstance(error, ModuleNotFoundError) and package.isidentifier():
        return f"; install the package that has {package!r}, or fix the import"
    return ""  # a library's own message about another package
