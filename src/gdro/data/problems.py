"""Problems as datasets have them: a text or a conversation, with or without an instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdro.data.cells import json_of, keys_of
from gdro.data.damage import Unfit
from gdro.data.prompts import BOXED
from gdro.data.verl_schema import INSTRUCTION

_DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the "
    "form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
_BEFORE = (_DAPO,)
_AFTER = (
    BOXED,
    INSTRUCTION,
    'Remember to put your answer on its own line after "Answer:".',
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Let's think step by step and output the final answer within \\boxed{}.",
    'Let\'s think step by step and output the final answer after "####".',
)
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


@dataclass(frozen=True)
class Asked:
    """A problem as text, and what was left out of it.

    Attributes:
        text: The problem alone.
        instruction: Whether a known instruction stood around it.
        system: Whether a system message stood before it.
    """

    text: str
    instruction: bool = False
    system: bool = False


def asked(value: Any, column: str) -> Asked:
    """The problem in a cell: a text, or a conversation with one question (JSON too).

    Raises:
        Unfit: It is neither.
    """
    if isinstance(value, str):
        messages = _conversation(value)
        if messages is None:
            return _bare(value.strip())
        value = messages
    if isinstance(value, Mapping):
        if not _is_message(value):
            raise Unfit(
                f"column {column!r} holds a mapping, no text; pass --problem with the column inside "
                f"({keys_of(value, column)})"
            )
        value = [value]
    if not isinstance(value, list) or not value:
        raise Unfit(f"no text in column {column!r}")
    return _question(value, column)


def _conversation(text: str) -> list[Any] | None:
    """The messages that a text holds as JSON; None if it is a text like others."""
    start = text.lstrip()[:40]
    if start.startswith(("[{'", "{'role'", "{'content'", "array([{'")):
        raise Unfit("a conversation in Python's notation, not JSON; write it with json.dumps")
    if not start.startswith(("[", "{")):
        return None
    data = json_of(text)
    messages = [data] if isinstance(data, dict) else data
    return (
        messages if isinstance(messages, list) and messages and all(map(_is_message, messages)) else None
    )


def _is_message(part: Any) -> bool:
    return isinstance(part, Mapping) and bool({"role", "from"} & part.keys())


def _question(messages: Sequence[Any], column: str) -> Asked:
    if len(messages) == 1 and isinstance(messages[0], str):
        return _bare(messages[0].strip())
    if not all(map(_is_message, messages)):
        raise Unfit(
            f"column {column!r} holds a list, but no conversation (messages with role and content)"
        )
    spoken = [(str(_part(m, "role", "from")), _content(_part(m, "content", "value"))) for m in messages]
    spoken = [(_ROLES.get(role, role), text) for role, text in spoken]
    system = bool(spoken) and spoken[0][0] in ("system", "developer")
    rest = spoken[system:]
    if [role for role, _ in rest] != ["user"]:
        roles = ", ".join(role for role, _ in rest)[:80] or "nobody"
        raise Unfit(f"column {column!r} holds a conversation of {roles}; one user message is needed")
    bare = _bare(rest[0][1])
    return Asked(bare.text, bare.instruction, system and bool(spoken[0][1]))


def _part(message: Mapping[str, Any], name: str, other: str) -> Any:
    return message[name] if message.get(name) is not None else message.get(other)


def _content(content: Any) -> str:
    """Text of a message's content: a text, or a list of parts that are texts."""
    if isinstance(content, str) or content is None:
        return (content or "").strip()
    parts = content if isinstance(content, list) else [content]
    given: list[Any] = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise Unfit("a message holds more than text (an image?)")
    return "\n".join(texts).strip()


def _bare(text: str) -> Asked:
    """The problem without a known instruction around it."""
    left = text
    for before in _BEFORE:
        left = left.removeprefix(before)
    for after in _AFTER:
        left = left.rstrip().removesuffix(after)
    left = left.strip()
    return Asked(left, True) if left and left != text else Asked(text)
