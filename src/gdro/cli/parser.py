"""Parsers of the commands: lists may stand anywhere, and unknown options show the command's usage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gdro.common.hints import did_you_mean
from gdro.common.redaction import hidden
from gdro.common.untrusted import printable


class _Help(argparse.HelpFormatter):
    """Wraps texts of one line, and leaves others (lists of examples) as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser whose error messages hide secrets and have no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        """As in argparse."""
        super().error(printable(hidden(message)))


class Command(Parser):
    """A command's parser. Argparse ends a list (`key=value ...`) at the first option after it."""

    def add_argument(self, *names: Any, **options: Any) -> Any:
        """As in argparse; an empty path is refused, which `Path` takes for the current folder."""
        if options.get("type") is Path:
            options["type"] = _path
        return super().add_argument(*names, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; arguments left over are appended to the command's list, or are an error."""
        parsed, left = super().parse_known_args(args, namespace)
        options, more = _split(left)
        many = [action for action in self._get_positional_actions() if action.nargs in ("*", "+")]
        if options or (more and not many):
            self._refuse(options or more)
        if more:
            try:
                convert: Any = many[0].type or str
                read = [convert(text) for text in more]
            except argparse.ArgumentTypeError as problem:
                self.error(f"argument {many[0].dest}: {problem}")
            setattr(parsed, many[0].dest, [*getattr(parsed, many[0].dest), *read])
        return parsed, []

    def _refuse(self, left: Sequence[str]) -> NoReturn:
        name = left[0].partition("=")[0]
        guess = did_you_mean(name, self._option_string_actions)
        self.error(f"unrecognized arguments: {' '.join(left)}{guess}")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; give one, or leave the option out")
    return Path(text)


def _split(left: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options, and the rest: all that follows `--`, and what does not begin with a dash."""
    at = left.index("--") if "--" in left else len(left)
    before, after = list(left[:at]), list(left[at + 1 :])
    options = [text for text in before if text.startswith("-")]
    return options, [text for text in before if not text.startswith("-")] + after
