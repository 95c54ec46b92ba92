"""Metrics of the adapter: exact counters, means over plans, and the check that ranks agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import gather_object

from gdro.controller import Controller
from gdro.errors import DivergenceError

_LOWEST = ("gdro/rollouts_min",)
_HIGHEST = ("gdro/rollouts_max", "gdro/weight_max")
_LATEST = ("gdro/memory_rollouts", "gdro/memory_bytes")
_TOTAL = "gdro/total_"
HELD_OUT = "gdro/pass_rate"
"""Metric of the pass rate of held-out prompts; the trainer adds `eval_`."""


class Logs:
    """Mixed in before a TRL trainer; the trainer has a `controller`."""

    controller: Controller

    def _log_metric(self: Any, name: str, value: float) -> None:
        super()._log_metric(name, value)  # pyright: ignore[reportAttributeAccessIssue]
        if self._gdro_planned:
            self._gdro_unjudged.see(name, value)

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as the trainer does, with the present values of counters instead of their means."""
        # An evaluation may leave the model in evaluation mode until the last line of a training.
        if self.model.training or "train_runtime" in logs:
            logs.update({f"{_TOTAL}{k}": float(v) for k, v in self.controller.ledger.as_dict().items()})
        super().log(logs, start_time)  # pyright: ignore[reportAttributeAccessIssue]


class Unjudged:
    """Counts of answers that a verifier took for wrong because it timed out or crashed.

    Reward functions log them by TRL's `log_metric`: `rewards/NAME/timeouts` and `rewards/NAME/crashes`.
    """

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def see(self, name: str, value: float) -> None:
        """Count a metric of a reward function; other names are ignored."""
        kind = name.rpartition("/")[2]
        if name.startswith("rewards/") and kind in ("timeouts", "crashes"):
            self._counts[kind] = self._counts.get(kind, 0.0) + value

    def pop(self, accelerator: Any) -> dict[str, float]:
        """Counts of all ranks since the last call, for the run log; empty if no function logs them."""
        counts, self._counts = self._counts, {}
        here = [counts.get("timeouts", 0.0), counts.get("crashes", 0.0), float(bool(counts))]
        rows = accelerator.gather(torch.tensor([here], device=accelerator.device))
        timeouts, crashes, seen = rows.sum(dim=0).tolist()
        return {"reward_timeouts": timeouts, "reward_crashes": crashes} if seen else {}


def record(window: dict[str, list[float]], values: Mapping[str, float]) -> None:
    """Add the metrics of one plan to the lists of which the trainer logs the means.

    A minimum, maximum or latest value replaces its list, so that it is logged as it is.
    """
    for name, value in values.items():
        if name.startswith(_TOTAL):
            continue  # `Logs.log` writes them
        known = window[name]
        if name in _LOWEST:
            window[name] = [min([*known, value])]
        elif name in _HIGHEST:
            window[name] = [max([*known, value])]
        elif name in _LATEST:
            window[name] = [value]
        else:
            known.append(value)


def record_held_out(trainer: Any, right_R: torch.Tensor) -> None:
    """Add verdicts (1 or 0) of one batch of an evaluation to `eval_gdro/pass_rate`."""
    trainer._metrics["eval"][HELD_OUT].extend(right_R.tolist())


def patch_logs(trainer: Any, advantage_R: torch.Tensor, zero_R: torch.Tensor) -> None:
    """Replace the metrics that TRL computed from groups of one."""
    trainer._metrics["train"]["frac_reward_zero_std"][-1] = zero_R.float().mean().item()
    logged = trainer._logs["advantages"]
    for _ in range(min(len(advantage_R), len(logged))):
        logged.pop()
    logged.extend(advantage_R.tolist())


def compare_ranks(trainer: Any) -> None:
    """Raise a DivergenceError if controllers differ between ranks."""
    if trainer.accelerator.num_processes == 1:
        return
    digests = gather_object([trainer.controller.digest()])
    if len(set(digests)) > 1:
        raise DivergenceError(
            f"controllers differ between ranks at step {trainer.state.global_step}: "
            f"{', '.join(digests)}; they must see the same rewards, so check that reward "
            "functions and datasets do not depend on the rank"
        )
