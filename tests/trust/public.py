"""The public signatures, one a line: `python tests/trust/public.py > tests/fixtures/signatures.txt`.

A line that changes or goes is a change that users feel: it belongs in CHANGELOG.md, under Changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import gdro


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


def lines() -> Iterator[str]:
    """All public names of `gdro`."""
    for name in sorted(gdro.__all__):
        item = getattr(gdro, name)
        if inspect.isclass(item):
            bases = [base for base in item.__mro__ if base.__module__ == "gdro.saved"]
            yield from of_class(name, item)
            for base in bases:  # the part of the controller that saves
                yield from (line.replace(base.__name__, name) for line in list(of_class(name, base))[2:])
        elif callable(item):
            yield f"{name}{signature(item)}"
        else:
            yield f"{name} = {item!r}"


def adapter() -> Iterator[str]:
    """Those of the TRL adapter."""
    from gdro.integrations.trl import GDROMixin

    yield f"trl.GDROMixin{signature(GDROMixin.__init__)}"
    yield f"trl.GDROMixin.train{signature(GDROMixin.train)}"


if __name__ == "__main__":
    print("\n".join([*lines(), *adapter()]))
