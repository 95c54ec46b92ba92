"""A pool, a made-up world that scores rollouts, and every strategy with its option variants."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

from gdro import Controller, Difficulty, Outcome, Plan, Problem, Request, make_strategy
from gdro.strategies.registry import list_strategies

N = 60
KEYS = [f"prompt-{i}" for i in range(N)]
RATE_N = np.linspace(0.01, 0.99, N) ** 2

Variant = tuple[str, dict[str, Any]]


COMPOSITIONS = (
    "mopps + rollout-gdro",
    "failure-sampling + rollout-gdro(n_max=8) + prompt-gdro",
    "greso + knapsack + dapo",
    "sec + hora + daro",
    "difficulty-pool + random-rollouts + dapo(refill=missing)",
    "failure-sampling + memory",
    "sec + rollout-gdro + passk-advantages",
    "mopps + rollout-gdro + maxrl + dapo",
    "curverl(window=2, classes=9) + memory",
    "mopps + rollout-gdro(n_max=8) + memory(max_misses=4, anchors=3, candidates=9)",
)


def _variants() -> dict[str, Variant]:
    found: dict[str, Variant] = {name: (name, {}) for name in list_strategies()}
    norms = ("mean_one", "mean_one_active", "raw", "probability")
    signals = ("failure", "reward", "surrogate")
    for signal, score, normalise in product(signals, ("ema", "cumulative"), norms):
        options = {"signal": signal, "score": score, "normalise": normalise}
        found[f"prompt-{signal}-{score}-{normalise}"] = ("prompt-gdro", options)
    found["prompt-share"] = ("prompt-gdro", {"share_divided": True, "eta": 0.65})
    for score, weight in product(("ema", "cumulative"), (False, True)):
        options = {"mode": "resample", "score": score, "importance_weight": weight}
        found[f"prompt-resample-{score}-{weight}"] = ("prompt-gdro", options)
    for score, mode in product(("exp3p", "tinf"), ("reweight", "resample")):
        found[f"prompt-{score}-{mode}"] = ("prompt-gdro", {"score": score, "mode": mode})
    for ambiguity, mode in product(("cvar", "chi2"), ("reweight", "resample")):
        options = {"ambiguity": ambiguity, "mode": mode}
        found[f"prompt-{ambiguity}-{mode}"] = ("prompt-gdro", options)
    options = {"ambiguity": "cvar", "level": 0.2, "normalise": "probability", "signal": "reward"}
    found["prompt-cvar-probability"] = ("prompt-gdro", options)
    utilities = ("discovery", "failure", "mixed", "hit", "variance")
    for utility, per, split in product(utilities, ("bin", "prompt"), (True, False)):
        options = {"utility": utility, "per": per, "split": split}
        found[f"rollout-{utility}-{per}-{split}"] = ("rollout-gdro", options)
    for split in (True, False):
        found[f"rollout-exp3p-{split}"] = ("rollout-gdro", {"solver": "exp3p", "split": split})
    found["rollout-narrow"] = ("rollout-gdro", {"n_min": 3, "n_max": 5})
    resample = {"name": "prompt-gdro", "mode": "resample", "importance_weight": True}
    found["joint-resample"] = ("joint", {"selector": resample, "weigher": resample})
    found["joint-surrogate"] = (
        "joint",
        {"weigher": {"name": "prompt-gdro", "signal": "surrogate"}, "allocator": "uniform"},
    )
    found["mopps-band"] = ("mopps", {"rule": "band", "decay": 1.0})
    found["dapo-missing"] = ("dapo", {"refill": "missing", "max_num_gen_batches": 3})
    found["ada-positive"] = ("reinforce-ada", {"exit": "positive", "rounds": 3, "per_round": 2})
    for text in COMPOSITIONS:
        found[text] = (text, {})
    found["joint-exp3p"] = ("joint", {"allocator": {"name": "rollout-gdro", "solver": "exp3p"}})
    return found


VARIANTS = _variants()
DIFFICULTIES = {
    "decayed": Difficulty(),
    "windowed": Difficulty(tracker="windowed", window=3, estimator="any", k=4),
    "unbiased": Difficulty(tracker="windowed", window=5, estimator="unbiased", edges=(0.2, 0.8)),
    "predicted": Difficulty(predictor=("difficulty",)),
}


def problem(keys: list[str] | None = None, prior: bool = False) -> Problem:
    """The pool; with a prior, every other prompt has a known pass rate."""
    prior_N = np.where(np.arange(N) % 2, RATE_N, np.nan) if prior else None
    columns = {"difficulty": 100.0 * (1.0 - RATE_N)} if keys is None else {}
    return Problem(prompt_keys=keys or KEYS, prior_N=prior_N, columns=columns)


def controller(variant: str = "uniform", prior: bool = False, **options: Any) -> Controller:
    """A fresh controller of a variant."""
    name, strategy_options = VARIANTS[variant]
    return Controller(make_strategy(name, **strategy_options), problem(prior=prior), **options)


def bounds(strategy: Any) -> tuple[int, int | None]:
    """Fewest and most rollouts a prompt may get."""
    own = strategy.bounds
    return (1, None) if own is None else (own.n_min, own.n_max)


def needs_whole(strategy: Any) -> bool:
    """Whether only whole bins may be served, so that the mean must be an integer."""
    return not getattr(getattr(strategy, "allocator", strategy), "split", True)


@dataclass(frozen=True)
class Scored:
    """An outcome, and losses aligned with its rows."""

    outcome: Outcome
    loss_R: np.ndarray


def score(
    plan: Plan, order: np.ndarray | None = None, seed: int = 0, plain: bool = False, **changes: Any
) -> Scored:
    """Rollouts of a plan, always the same for a ticket; rewards have parts that round in sums.

    With `plain` they are 0 and 1, so that groups that agree have no gradient.
    """
    rng = np.random.default_rng([seed, plan.ticket])
    prompt_R = plan.prompt_R
    num = len(prompt_R)
    correct_R = rng.random(num) < RATE_N[prompt_R % N]
    partial_R = np.where(correct_R, 1.0, -1.0) + rng.normal(0, 0.1, num)
    fields = {
        "prompt_R": prompt_R,
        "reward_R": correct_R * 1.0 if plain else partial_R,
        "correct_R": correct_R,
        "tokens_R": rng.integers(5, 50, num),
        "valid_R": rng.random(num) < 0.9,
    }
    loss_R = rng.normal(0, 0.1, num)
    order = np.arange(num) if order is None else order
    fields = {k: v[order] for k, v in fields.items()} | changes
    return Scored(Outcome(plan.ticket, **fields), loss_R[order])


def request(variant: str = "uniform", num_prompts: int = 16, offered: Any = None) -> Request:
    """Four rollouts a prompt."""
    return Request(num_prompts, 4 * num_prompts, offered)


def close(c: Controller, plan: Plan) -> np.ndarray:
    """Score, weigh and observe a plan; the weights of its rows."""
    scored = score(plan)
    weight_R = c.weigh(scored.outcome).weight_R
    c.observe(scored.outcome, scored.loss_R)
    return weight_R


def warm(c: Controller, steps: int = 6) -> list[Plan]:
    """Take some steps, so that beliefs and scores differ from the start."""
    plans = []
    for _ in range(steps):
        plans.append(c.plan(request()))
        close(c, plans[-1])
    return plans


def play(c: Controller, events: list[str], plans: dict[int, Plan]) -> list[str]:
    """Run `p` (plan), `w3` (weigh ticket 3), `c3` (close), `a3` (abandon); what each gave."""
    trace = []
    for event in events:
        if event == "p":
            plan = c.plan(request())
            plans[plan.ticket] = plan
            given = (plan.prompt_P.tolist(), plan.rollouts_P.tolist(), plan.bin_P.tolist())
        elif event[0] == "a":
            c.abandon(int(event[1:]))
            given = None
        else:
            scored = score(plans[int(event[1:])])
            given = c.weigh(scored.outcome).weight_R.tolist()
            if event[0] == "c":
                c.observe(scored.outcome, scored.loss_R)
        trace.append(f"{event} {given} {c.digest()}")
    return trace


EVENTS = [
    *("p", "p", "c1", "p", "c0", "p", "w3", "c2", "p"),
    *("a4", "c3", "p", "p", "w6", "c5", "p", "c7", "c6"),
]


def raises(error: type[Exception], *words: str) -> Any:
    """As pytest.raises; the message must hold every word, in any order and case."""
    return pytest.raises(error, match="(?is)" + "".join(f"(?=.*{w})" for w in words))
