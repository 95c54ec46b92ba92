"""Configurations: a schema, a YAML file, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gdro.errors import GdroError


def merge(
    schema: type[Any],
    paths: Sequence[Any],
    overrides: Sequence[str],
    label: str,
    error: type[GdroError],
) -> Any:
    """Fill a schema from files and overrides.

    Args:
        schema: A dataclass; its field names and types are what is allowed.
        paths: YAML files, of which later ones win; what none of them says is the schema's default.
        overrides: `key=value` pairs with dots.
        label: What to call it in errors.
        error: Raised on bad input.

    Returns:
        An instance of `schema`.

    Raises:
        GdroError: Of the class `error`: an unknown key, a value of the wrong type, or no `=`.
    """
    for override in overrides:
        if "=" not in override:
            raise error(f"override {override!r} has no '='; write key=value, e.g. seed=1")
    try:
        layers = [OmegaConf.load(str(path)) for path in paths]
        given = OmegaConf.from_dotlist(list(overrides))
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), *layers, given))
    except OmegaConfBaseException as problem:
        raise error(
            f"{label}: {str(problem).splitlines()[0]}; its keys: "
            f"{', '.join(schema.__dataclass_fields__)}"
        ) from problem
