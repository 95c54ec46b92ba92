"""Can the beliefs be trusted: are bins steady, and are prompts visited often enough?"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.verdicts.verdict import Verdict
from gdro.report.visits import Visits

OSCILLATING, LEAST_MOVES = 0.2, 20
# Fewer visits than this say little, whatever the window.
FEW_VISITS = 4


@dataclass(frozen=True)
class Moves:
    """Changes of bin over pairs of visits: how many, and how many turned back."""

    pairs: int
    moves: int
    reversals: int


def moves_of(visits: Visits) -> Moves:
    """Count moves between bins, prompt by prompt, and those that undo the direction of the last."""
    order_V = visits.by_prompt_V
    order_V = order_V[visits.bin_V[order_V] >= 0]
    prompt_V, bin_V = visits.prompt_V[order_V], visits.bin_V[order_V]
    same_V = prompt_V[1:] == prompt_V[:-1]
    step_V = np.where(same_V, np.sign(np.diff(bin_V)), 0)
    move = np.flatnonzero(step_V)
    who, direction = prompt_V[1:][move], step_V[move]
    turned = (who[1:] == who[:-1]) & (direction[1:] != direction[:-1])
    return Moves(int(same_V.sum()), len(move), int(turned.sum()))


def bins_oscillate(run: LoggedRun) -> Verdict | None:
    """Prompts that keep turning back between bins: hysteresis is too small for the noise."""
    if run.visits is None:
        return None
    count = moves_of(run.visits)
    if count.moves < LEAST_MOVES or count.reversals <= OSCILLATING * count.pairs:
        return None
    hysteresis = run.header.get("difficulty", {}).get("hysteresis")
    now = "" if hysteresis is None else f" It is {hysteresis:g} now."
    evidence = (
        f"In {count.reversals:,} of {count.pairs:,} pairs of visits "
        f"({100 * count.reversals / count.pairs:.0f}%) a prompt turned back to where it came from. "
        f"Raise the hysteresis, remember more visits, or take fewer bins.{now}"
    )
    return Verdict("warning", f"{run.name}: bins oscillate.", evidence, "mean_bin")


def starved(run: LoggedRun) -> Verdict | None:
    """Fewer visits a prompt than the tracker's memory is made for."""
    if run.visits is None or not len(run.visits.keys):
        return None
    median = float(np.median(run.visits.visits_K))
    need, memory = _need(run)
    if median >= need:
        return None
    visits = "1 visit" if median == 1 else f"{median:g} visits or fewer"
    evidence = (
        f"Half of the prompts that were tried have {visits}; {memory}. Beliefs rest "
        "on the prior until then: train longer, use a smaller pool, or a shorter memory."
    )
    severity = "warning" if median < FEW_VISITS else "note"
    return Verdict(severity, f"{run.name}: the controller is starved.", evidence, "calibration")


def _need(run: LoggedRun) -> tuple[int, str]:
    """Visits that fill the tracker's memory, and that in words."""
    difficulty = run.header.get("difficulty", {})
    if difficulty.get("tracker") == "windowed":
        window = int(difficulty["window"])
        return window, f"the window remembers {window}"
    decay = float(difficulty.get("decay", 0.7))
    need = FEW_VISITS if decay >= 1 else max(FEW_VISITS, ceil(1 / (1 - decay)))
    return need, f"counts that decay by {decay:g} remember about {need}"
