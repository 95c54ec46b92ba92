"""Lines on the console: six numbers by default, and a progress bar only on a terminal."""

from __future__ import annotations

import sys
from typing import Any, Literal, get_args

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback

from gdro.errors import UnsupportedError

Console = Literal["brief", "full"]
BRIEF = ("reward", "gdro/pass_rate", "gdro/gradient", "completions/mean_length", "entropy", "grad_norm")
"""Metrics in a short line of training; lines of an evaluation have `eval_` before the names."""


def check_console(gdro_log: str) -> None:
    """Raise an UnsupportedError for an unknown way to log."""
    if gdro_log not in get_args(Console):
        raise UnsupportedError(
            f"gdro_log is {gdro_log!r}; allowed: 'brief' (six numbers a line on the console) or 'full' "
            "(all of them); trackers and state.log_history get all of them either way"
        )


def shorten(handler: Any) -> None:
    """Make a trainer's callback handler print short lines; users' own callbacks are not changed."""
    for place, callback in enumerate(handler.callbacks):
        if type(callback) is ProgressCallback:
            handler.callbacks[place] = BriefProgress(callback.max_str_len)
        elif type(callback) is PrinterCallback:
            handler.callbacks[place] = BriefPrinter()


def shortened(logs: dict[str, Any], state: Any) -> dict[str, Any]:
    """The part of a log line that the console shows; of lines without rewards, all but our counters."""
    prefix = next((p for p in ("", "eval_") if f"{p}reward" in logs), None)
    if prefix is None:
        return {name: value for name, value in logs.items() if not name.startswith("gdro/")}
    names = [*(f"{prefix}{key}" for key in BRIEF), *(key for key in logs if key.startswith("train_"))]
    shown = {name: logs[name] for name in names if name in logs}
    return {"step": f"{state.global_step}/{state.max_steps}", **shown}


class BriefProgress(ProgressCallback):
    """Shows six numbers a line, and a bar only on a terminal: in a file it makes hundreds of lines."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.training_bar = tqdm(
                total=state.max_steps, dynamic_ncols=True, disable=not sys.stderr.isatty()
            )
        self.current_step = 0

    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        if sys.stderr.isatty():
            super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, shortened(logs or {}, state), **kwargs)


class BriefPrinter(PrinterCallback):
    """Shows six numbers a line."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, shortened(logs or {}, state), **kwargs)
