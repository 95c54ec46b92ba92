"""Cells of a reward log: ids of prompts, rewards and steps."""

from __future__ import annotations

import hashlib
import json
import re
from math import isnan
from typing import Any

from gdro.common.schema import LARGEST, Fault, is_count, is_number
from gdro.data.cells import json_of
from gdro.log.schema import MOST_ROLLOUTS

_SHORT = 200  # characters of an id; a longer one is its beginning and a hash
_DIGITS = re.compile(r"[+-]?\d{2,}")
_WORDS = {"true": 1.0, "false": 0.0, "": None, "none": None, "null": None}


def as_key(value: Any) -> str:
    """Id of a prompt as text: of an id, a text, or a conversation.

    Raises:
        Fault: It is none of these, or missing.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list | dict) and value:
        value = _spoken(value)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise Fault(f"an id is {value!r:.40}; it must be a text or an integer")
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= _SHORT:
        return text
    return f"{text[:100]}… #{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _spoken(messages: Any) -> str:
    """Text of a conversation: what is said in it, of anything else its JSON."""
    parts = messages if isinstance(messages, list) else [messages]
    said: list[Any] = [part.get("content") if isinstance(part, dict) else part for part in parts]
    texts = [text for text in said if isinstance(text, str)]
    if len(texts) == len(said):
        return "\n".join(texts)
    return json.dumps(messages, sort_keys=True, default=str)


def as_rewards(value: Any, column: str) -> list[float | None] | float | None:
    """A reward, None if there is none, or a list of them, one for each rollout of a group.

    Raises:
        Fault: It is no number.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        value = json_of(value)
    if not isinstance(value, list):
        if isinstance(value, str) and column.endswith("s") and _DIGITS.fullmatch(value.strip()):
            raise Fault(f"{column} is {value!r:.40}, not a list")
        return _reward(value)
    if len(value) > MOST_ROLLOUTS:
        raise Fault(f"{len(value):,} rewards; at most {MOST_ROLLOUTS}")
    return [_reward(reward) for reward in value]


def rewards_or_none(value: Any, column: str) -> Any:
    """What `as_rewards` reads, with 0 for a missing reward; None where it would raise."""
    try:
        reward = as_rewards(value, column)
    except Fault:
        return None
    return 0.0 if reward is None else reward


def _reward(value: Any) -> float | None:
    given = value
    if isinstance(value, str):
        text = value.strip().lower()
        value = _WORDS.get(text, text)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise Fault(f"a reward is {given!r:.40}; it must be a number") from None
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool):
        return float(value)
    if not is_number(value):
        raise Fault(f"a reward is {given!r:.40}; it must be a finite number up to {LARGEST:g}")
    return float(value)


def as_step(step: Any) -> Any:
    """A step as something that can be compared.

    Raises:
        Fault: It is neither a number nor a text.
    """
    if not (step is None or isinstance(step, str | int | float)):
        raise Fault(f"a step is {step!r:.40}; it must be a number or a text")
    return step


def as_counts(n: Any, right: Any) -> tuple[int, int]:
    """Rollouts of a group and right ones.

    Raises:
        Fault: They are no such counts.
    """
    n, right = _whole(n), _whole(right)
    if not is_count(n, MOST_ROLLOUTS):
        raise Fault(f"n is {n!r:.40}; it must be a whole number, 0 to {MOST_ROLLOUTS}")
    if not is_count(right, n):
        raise Fault(f"{right!r:.40} successes of {n}; there must be a whole number, 0 to n")
    return n, right


def _whole(value: Any) -> Any:
    """A whole number as tables without types write it."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.0+)?", value.strip()):
        return int(float(value))
    return value
