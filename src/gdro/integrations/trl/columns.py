"""Which columns of the dataset a reward function reads; checks of the answer read one."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

NOT_COLUMNS = ("prompt", "completion", "completion_ids")
"""Columns that reward functions get under another name, or not at all."""

_OF_TRAINERS = (
    *("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"),
    *("environments", *NOT_COLUMNS),
)
_NEAR = 2  # kwargs["answer"] and kwargs.get("answer") load the name within this many instructions


def columns_read(function: Any, columns: Sequence[str]) -> list[str]:
    """Dataset columns beside the prompt that a reward function reads; a model reads none.

    They are in its attribute `reads`; without one, they are its parameters and the names by which it
    subscripts its `**kwargs`.

    >>> def one(completions, answer, **kwargs): ...
    >>> def two(completions, **kwargs):
    ...     return [a == c for a, c in zip(kwargs["answer"], completions)]
    >>> [columns_read(f, ["prompt", "answer", "id"]) for f in (one, two)]
    [['answer'], ['answer']]
    """
    given: Any = getattr(function, "reads", None)
    if given is None:
        try:
            parameters: Mapping[str, Any] = inspect.signature(function).parameters
        except (TypeError, ValueError):  # not written in Python
            return []
        given = {*parameters, *_keywords(function)}
    return [name for name in columns if name in given and name not in NOT_COLUMNS]


def names_given(trainer: Any, columns: Sequence[str], functions: Sequence[Any]) -> list[str]:
    """Names by which a trainer gives functions values of their rows.

    They are the dataset's columns, `environments` if there are any, and the fields of a rollout
    function, which are those that `functions` require and nothing else gives.
    """
    names = list(columns)
    if trainer.environment_factories is not None:
        names.append("environments")
    if trainer.rollout_func is not None:
        wanted = (name for function in functions for name in _required(function))
        names += [name for name in wanted if name not in _OF_TRAINERS]
    return list(dict.fromkeys(names))


def _required(function: Any) -> list[str]:
    """Parameters without a default, and texts by which the `**kwargs` are subscripted."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [p.name for p in parameters if p.kind in kinds and p.default is p.empty]
    return [*named, *sorted(_keywords(function))]


def _keywords(function: Any) -> set[str]:
    """Texts by which a function subscripts its `**kwargs`."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = vars(type(function)).get("__call__", function)
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_VARKEYWORDS:
        return set()
    varargs = bool(code.co_flags & inspect.CO_VARARGS)
    name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount + varargs]
    return set(_subscripts(code, name))


def _subscripts(code: CodeType, name: str) -> Iterator[str]:
    """Constants loaded right after a variable, in a code object and those inside it."""
    instructions = list(dis.get_instructions(code))
    for place, instruction in enumerate(instructions):
        loaded = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        if instruction.opname.startswith("LOAD") and name in loaded:
            behind = instructions[place + 1 : place + 1 + _NEAR]
            yield from (i.argval for i in behind if isinstance(i.argval, str) and "CONST" in i.opname)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _subscripts(inner, name)
