"""Configurations: a schema, a YAML file, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from gdro.common.hints import did_you_mean
from gdro.errors import GdroError


def merge(
    schema: type[Any],
    paths: Sequence[Any],
    overrides: Sequence[str],
    label: str,
    error: type[GdroError],
) -> Any:
    """Fill a schema from files and overrides; see `merge_written`."""
    return merge_written(schema, paths, overrides, label, error)[0]


def merge_written(
    schema: type[Any],
    paths: Sequence[Any],
    overrides: Sequence[str],
    label: str,
    error: type[GdroError],
) -> tuple[Any, dict[str, Any]]:
    """Fill a dataclass from YAML files, later ones first, and `key=value` overrides.

    Returns:
        An instance of `schema`, and the same as plain data in which interpolations such as
        `${oc.env:HF_TOKEN}` are as they were written.

    Raises:
        error: Unknown key, value of the wrong type, or no `=`; the message starts with `label`.
    """
    for override in overrides:
        if "=" not in override:
            raise error(f"override {override!r} has no '='; write key=value, e.g. seed=1")
        key, bracket, _ = override.partition("=")[0].partition("[")
        if bracket:
            raise error(
                f"override {override!r} changes part of a list; give the whole list, {key}=[...]"
            )
    base: Any = OmegaConf.structured(schema)
    try:
        base = OmegaConf.merge(base, *[read_yaml(path, error) for path in paths])
        whole = OmegaConf.merge(base, OmegaConf.from_dotlist(list(overrides)))
        written = cast("dict[str, Any]", OmegaConf.to_container(whole, resolve=False))
        return OmegaConf.to_object(whole), written
    except OmegaConfBaseException as problem:
        raise error(f"{label}: {_explained(problem, base)}") from problem
    except YAMLError as problem:
        raise error(
            f"{label}: {str(problem).splitlines()[0]}; quote values that are not YAML"
        ) from problem


def read_yaml(path: Any, error: type[GdroError]) -> Any:
    """The mapping in a YAML file; raises `error` if the file is missing or holds something else."""
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "no such file"
        raise error(f"{path}: {what}; pass the path of a YAML file")
    try:
        data = OmegaConf.load(str(path))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as problem:
        raise error(f"{path} is not a YAML file: {str(problem).splitlines()[0]}") from problem
    except (ValueError, RecursionError) as problem:  # a number of thousands of digits, deep nesting
        raise error(f"{path} cannot be read: {str(problem)[:100]}; write shorter values") from problem
    except OSError as problem:  # raised by OmegaConf for a file that holds a bare number
        raise error(f"{path} cannot be read as `key: value` lines ({problem})") from problem
    if not OmegaConf.is_dict(data):
        raise error(f"{path} does not hold a mapping; write `key: value` lines")
    return data


def _explained(problem: OmegaConfBaseException, base: Any) -> str:
    """What is wrong with a key of `base` or an override, and what is allowed there."""
    full = str(problem.full_key or "")
    if "not a subclass of" in str(problem):  # a section was given a bare value
        given = str(problem).splitlines()[0].rpartition("value: ")[2]
        where = full or "a key that has others below it"
        if full.endswith("]"):
            return f"{full} is {given}; write it as {{NAME: value, ...}}"
        return f"{where} is {given}; write what is below it, as {full or 'KEY'}.NAME=value"
    above, _, key = full.rpartition(".")
    if isinstance(problem, MissingMandatoryValue):
        around, _, name = above.rpartition(".")
        known = [str(other) for other in OmegaConf.select(base, around)] if around else []
        there = f"; {around} has {', '.join(known)}" if known else ""
        return f"{full} is missing{there}{did_you_mean(name, known, f'{around}.')}"
    names = [str(name) for name in getattr(problem.object_type, "__dataclass_fields__", {})]
    allowed = f"keys of {above}" if above else "its keys"
    if not isinstance(problem, ConfigKeyError):
        return f"{full}: {str(problem).splitlines()[0]}"
    guess = did_you_mean(key, names, f"{above}." if above else "")
    guess = guess or _elsewhere(key, OmegaConf.to_container(base))
    return f"no key {full!r}{guess} ({allowed}: {', '.join(names)})"


def _elsewhere(key: str, tree: Any) -> str:
    """Suggests the full key where its section was left out, e.g. trl.max_steps for max_steps."""
    sections = {str(name): cast(Any, below) for name, below in tree.items() if isinstance(below, dict)}
    guesses = (did_you_mean(key, list(below), f"{name}.") for name, below in sections.items())
    return next((guess for guess in guesses if guess), "")
