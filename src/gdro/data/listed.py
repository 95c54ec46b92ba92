"""Multiple-choice rows that list their choices, as MMLU, MMLU-Pro, ARC, MedQA and C-Eval have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from string import ascii_uppercase
from typing import Any, NamedTuple

from gdro.common.untrusted import shown
from gdro.data.cells import cell, has_cell, json_of, text_of
from gdro.data.damage import Damaged, Row, Unfit
from gdro.rewards.choices import gold_letter

LISTS = ("choices", "options", "question.choices")
_APART = (("A", "B", "C", "D", "E"), ("opa", "opb", "opc", "opd", "ope"))
_NAMED = tuple(tuple(f"{stem}_{letter}" for letter in "abcde") for stem in ("option", "choice"))
RIGHT = (
    *("answer", "answerKey", "answer_key", "answer_idx", "answer_index", "correct_answer", "correct"),
    *("correct_option", "cop", "label", "target", "gold"),
)
_NUMBER = re.compile(r"\d{1,3}")
_HOW = "give the letter or the text of the right choice, or its number, counted from 0"


class Listed(NamedTuple):
    """A problem with its choices.

    Attributes:
        prompt: The problem, with the choices below it.
        letter: Letter of the right one.
        num_choices: Number of choices.
    """

    prompt: str
    letter: str
    num_choices: int


def choice_columns(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """The column that lists the choices, or the columns that hold one each; empty without any."""
    for name in LISTS:
        if has_cell(columns, name) and _is_list(cell(columns, name)):
            return (name,)
    for names in (*_APART, *_NAMED):
        present = tuple(name for name in names if name in columns)
        if len(present) >= 4 and present == names[: len(present)]:
            return present
    return ()


def _is_list(value: Any) -> bool:
    """Whether a value lists at least two choices, or is a text that tries to."""
    try:
        return len(_choices(value)[1]) > 1
    except Unfit:
        return isinstance(value, str) and value.lstrip().startswith(("[", "{"))


def listed(problem: str, row: Mapping[str, Any], columns: Sequence[str], answer: str) -> Listed:
    """A row's problem with its choices below, in the row's order.

    Args:
        problem: Text of the problem.
        row: The row.
        columns: Columns of the choices, as `choice_columns` finds them.
        answer: Column of the right one.

    Raises:
        Unfit: A choice is missing, or the answer names none or several of them.
    """
    labels, texts, given = _of_row(row, columns)
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise Unfit(f"it has {len(texts)} choices in {', '.join(columns)}; allowed: 2 to 26")
    letters = ascii_uppercase[: len(texts)]
    bare = [_prefix(letter).sub("", text) for letter, text in zip(letters, texts, strict=True)]
    texts = bare if all(b and b != text for b, text in zip(bare, texts, strict=True)) else texts
    right = _right(cell(row, answer), answer, labels or list(letters), texts, given)
    if texts.count(texts[right]) > 1:
        raise Unfit(f"the right choice {shown(texts[right], most=60)!r} stands there twice")
    above = all(
        re.search(rf"{_prefix(letter).pattern}{re.escape(text)}", problem, re.MULTILINE)
        for letter, text in zip(letters, texts, strict=True)
    )
    lines = [f"{letter}) {text}" for letter, text in zip(letters, texts, strict=True)]
    prompt = problem if above else "\n".join([problem, "", *lines])
    return Listed(prompt, letters[right], len(texts))


def counted_from_one(rows: Sequence[Row], columns: Sequence[str], answer: str) -> int | None:
    """The number of a row whose answer is the number of its choices, if no answer is 0; else None."""
    last = None
    for number, row in enumerate(rows, 1):
        if isinstance(row, Damaged):
            continue
        value = _whole(cell(row, answer))
        try:
            labels, texts, _ = _of_row(row, columns)
        except Unfit:
            continue
        if value == 0 or (labels and value is not None and str(value) in labels):
            return None
        if value == len(texts) > 1 and last is None:
            last = number
    return last


def _of_row(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[list[str], list[str], list[Any]]:
    """Labels of a row's choices (empty without any), their texts, and what stood for each text."""
    if len(columns) == 1:
        return _choices(cell(row, columns[0]), columns[0])
    given = [row.get(name) for name in columns]
    texts = [text_of(value) for value in given]
    while len(texts) > 4 and not texts[-1]:  # a fifth choice that only some rows have
        texts.pop()
    return [], _complete(texts, ", ".join(columns)), given[: len(texts)]


def _choices(value: Any, column: str = "choices") -> tuple[list[str], list[str], list[Any]]:
    if isinstance(value, str):
        parsed = json_of(value)
        if parsed is None and value.lstrip().startswith(("[", "{")):
            raise Unfit(f"column {column!r} holds choices in no JSON; write them with json.dumps")
        value = parsed
    labels: list[Any] = []
    if isinstance(value, dict):
        texts = value.get("text", value.get("texts"))
        if isinstance(texts, list):  # {"text": [...], "label": [...]}
            labels, value = value.get("label", value.get("labels")) or [], texts
        else:  # {"A": ..., "B": ...}; a table of several rows has null where a row has no such choice
            labels = [key for key, text in value.items() if text is not None]
            value = [value[key] for key in labels]
    if not isinstance(value, list):
        raise Unfit(f"no choices in column {column!r}")
    if value and all(isinstance(part, dict) and {"text", "label"} <= part.keys() for part in value):
        labels, value = [part["label"] for part in value], [part["text"] for part in value]
    names = [text_of(label) for label in labels] if isinstance(labels, list) else [""]
    if names and (len(names) != len(value) or len(set(names)) < len(names)):
        raise Unfit(f"column {column!r} has {len(value)} choices and {len(set(names))} labels for them")
    return names, _complete([text_of(text) for text in value], column), list(value)


def _complete(texts: list[str], column: str) -> list[str]:
    empty = next((i for i, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise Unfit(f"a choice is missing: number {empty + 1} in column {column!r} is empty")
    return texts


def _prefix(letter: str) -> re.Pattern[str]:
    return re.compile(rf"^\W{{0,2}}{letter}\s?[).:]\s*", re.MULTILINE)


def _whole(value: Any) -> int | None:
    """A whole number, also as text or as a float; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return int(value) if value == value and abs(value) < 1000 and value == int(value) else None
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if _NUMBER.fullmatch(text) else None


def _right(
    value: Any, column: str, labels: Sequence[str], texts: Sequence[str], given: Sequence[Any]
) -> int:
    """The place of the right choice.

    Raises:
        Unfit: The answer names none or several of them.
    """
    if isinstance(value, list):
        if len(value) != 1:
            raise Unfit(f"column {column!r} names {len(value)} right choices; one is needed")
        value = value[0]
    if isinstance(value, bool):
        raise Unfit(f"column {column!r} is {value!r}; {_HOW}")
    text = text_of(value)
    if not text:
        raise Unfit(f"no answer in column {column!r}")
    whole, is_text = _whole(value), isinstance(value, str)
    same = {i for i, choice in enumerate(texts) if choice == text and (is_text or _is_number(given[i]))}
    if len(text) > 1 and same and is_text and whole is None:
        return min(same)
    letter = gold_letter(text, ascii_uppercase[: len(texts)]) if is_text else None
    named = [*labels].index(text) if text in labels else None
    if named is None and letter is not None and labels[0].upper() == "A":
        named = ascii_uppercase.index(letter)
    places = same | ({named} if named is not None else set())
    if whole is not None and named is None and 0 <= whole < len(texts):
        places.add(whole)
    if len(places) != 1:
        which = "several" if places else f"none of {len(texts)}"
        raise Unfit(
            f"column {column!r} is {shown(text, most=60)!r}, which names {which} choices; {_HOW}"
        )
    return places.pop()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
