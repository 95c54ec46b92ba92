"""The text of a completion: a text, a conversation, or a message whose content has parts."""

from __future__ import annotations

from typing import Any, cast


def text_of(completion: Any) -> Any:
    """The text of a completion, of a conversation that of its last message.

    Returns:
        The text, empty without a message or content; anything that has no text as it is.

    >>> text_of([{"role": "assistant", "content": [{"type": "text", "text": "so "}, {"text": "7"}]}])
    'so 7'
    >>> text_of([{"role": "assistant", "content": None}]), text_of([])
    ('', '')
    """
    if not isinstance(completion, list | tuple):
        return content_of(completion) if isinstance(completion, dict | None) else completion
    messages = cast("list[Any]", completion)
    if not messages:
        return ""
    last = messages[-1]
    return content_of(last) if isinstance(last, dict | None) else last


def content_of(message: Any) -> Any:
    """The text of a message, with its parts joined; its content if it has no text."""
    content: Any = message
    if isinstance(message, dict):
        content = cast("dict[str, Any]", message).get("content")
    if isinstance(content, dict):
        return _part(content) or ""
    if not isinstance(content, list | tuple):
        return "" if content is None else content
    parts = [_part(part) for part in cast("list[Any]", content)]
    return "".join(part for part in parts if isinstance(part, str))


def _part(part: Any) -> Any:
    """The text of a part; None of an image, a tool call, or thinking."""
    if not isinstance(part, dict):
        return part
    fields = cast("dict[str, Any]", part)
    return fields.get("text") if fields.get("type", "text") in ("text", "output_text") else None
