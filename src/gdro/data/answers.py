"""Answers in the forms that datasets have them, each as the text that rewards compare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from gdro.data.cells import cell, json_of, keys_of, text_of
from gdro.data.damage import Unfit
from gdro.data.presets import Reading
from gdro.rewards.extract import LONGEST, gold_of, last_boxed

_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?![A-Za-z{])")
_WORDS = 15  # more are a sentence, not an answer


def answer_of_row(row: Mapping[str, Any], column: str, reading: Reading) -> str:
    """The answer in a row's column, as text; a list of alternatives is JSON.

    Raises:
        Unfit: There is none, or it is no answer.
    """
    value = cell(row, column)
    try:
        answer = READERS[reading](value, column)
    except Unfit as problem:
        raise Unfit(f"column {column!r}: {problem}") from problem
    if not answer:
        raise Unfit(f"no answer in column {column!r} (read as: {reading})")
    return answer


def is_prose(answer: str) -> bool:
    r"""Whether an answer reads like a solution or a sentence.

    >>> is_prose("\\frac{1}{2}"), is_prose("the number of cows that the farmer had sold by then " * 2)
    (False, True)
    """
    return len(_WORD.findall(answer[: 10 * LONGEST])) > _WORDS


def is_solution(text: str) -> bool:
    """Whether a text is a solution that ends with its answer in a box or after `####`."""
    return last_boxed(text) is not None or "\n####" in text


def _text(value: Any, column: str) -> str:
    if isinstance(value, list):
        return _alternatives(value)
    if isinstance(value, dict):
        raise Unfit(
            f"it holds a mapping; pass --answer with the column inside ({keys_of(value, column)})"
        )
    text = text_of(value)
    if text.startswith('["') and isinstance(listed := json_of(text), list):
        return _alternatives(listed)
    if is_solution(text):
        return gold_of(text)
    if len(text) > LONGEST:
        raise Unfit(
            f"it has {len(text):,} characters and no \\boxed{{}}: a solution, not an answer; pass "
            "--answer with the column of the answer alone"
        )
    return text


def _alternatives(values: list[Any]) -> str:
    """The one answer of a list, or the list as JSON, any of which is right."""
    if any(isinstance(value, list | dict) or not text_of(value) for value in values):
        raise Unfit(f"it is a list with other things than texts and numbers ({values!r:.60})")
    texts = list(dict.fromkeys(map(text_of, values)))
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False) if texts else ""


def _after_hash(value: Any, column: str) -> str:
    _, mark, answer = text_of(value).rpartition("####")
    return answer.strip().replace(",", "") if mark else ""


def _first(value: Any, column: str) -> str:
    return text_of(value[0]).strip("$") if isinstance(value, list) and value else text_of(value)


def _as_it_is(value: Any, column: str) -> str:
    return text_of(value)


READERS: dict[Reading, Callable[[Any, str], str]] = {
    "text": _text,
    "after ####": _after_hash,
    "last box": lambda value, column: last_boxed(text_of(value)) or "",
    "first": _first,
    "choices": _as_it_is,
    "listed": _as_it_is,
    "as it is": _as_it_is,
}
