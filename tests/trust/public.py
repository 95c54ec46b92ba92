"""The public signatures, one a line: `python tests/trust/public.py > tests/fixtures/signatures.txt`.

A line that changes or goes is a change that users feel: it belongs in CHANGELOG.md, under Changed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import gdro
from gdro.cli.app import _parser


def of_class(name: str, cls: type) -> Iterator[str]:
    """A class, and what it offers beyond its bases outside of gdro."""
    bases = ", ".join(base.__name__ for base in cls.__bases__)
    yield f"class {name}({bases})"
    if issubclass(cls, Exception):
        return
    yield f"  {name}{signature(cls)}"
    for attribute, value in sorted(vars(cls).items()):
        if attribute.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"  {name}.{attribute}: {signature(value.fget).rsplit(' -> ', 1)[-1]}"
        elif callable(value) or isinstance(value, classmethod | staticmethod):
            yield f"  {name}.{attribute}{signature(getattr(cls, attribute))}"


def signature(item: object) -> str:
    """Parameters with their annotations and defaults, as written."""
    return str(inspect.signature(item)).replace("'", "")


def of_module(module: ModuleType, prefix: str = "") -> Iterator[str]:
    """All public names of a module."""
    for name in sorted(module.__all__):
        item, shown = getattr(module, name), prefix + name
        if inspect.isclass(item):
            yield from of_class(shown, item)
        elif callable(item):
            yield f"{shown}{signature(item)}"
        elif isinstance(item, Mapping):
            yield f"{shown}: {', '.join(sorted(item))}"
        else:
            yield f"{shown} = {item!r}"


def lines() -> Iterator[str]:
    """All public names of `gdro`, and of its packages for users."""
    yield from of_module(gdro)
    for name in ("data", "evaluation", "rewards", "study"):
        yield from of_module(importlib.import_module(f"gdro.{name}"), f"{name}.")


def command_line() -> Iterator[str]:
    """Every command with its arguments and options."""
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in sorted(commands.choices.items()):
        for action in parser._actions:
            if not isinstance(action, argparse._HelpAction):
                yield f"gdro {name} {_argument(action)}"


def _argument(action: argparse.Action) -> str:
    shown = "|".join(action.option_strings) or action.dest
    for what in ("nargs", "choices", "const", "default"):
        value = getattr(action, what)
        if value is not None and value is not argparse.SUPPRESS:
            shown += f" {what}={str(value) if isinstance(value, Path) else value!r}"
    return shown + (" required" if action.required and action.option_strings else "")


def adapter() -> Iterator[str]:
    """Those of the TRL adapter."""
    from gdro.integrations.trl import GDROMixin
    from gdro.integrations.trl.async_grpo import GDROAsyncGRPOTrainer

    yield f"trl.async_grpo.GDROAsyncGRPOTrainer{signature(GDROAsyncGRPOTrainer.__init__)}"
    yield f"trl.GDROMixin{signature(GDROMixin.__init__)}"
    yield f"trl.GDROMixin.train{signature(GDROMixin.train)}"


if __name__ == "__main__":
    print("\n".join([*lines(), *adapter(), *command_line()]))
