"""What `gdro strategies` prints: the table, and one strategy with its options and a worked example."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from gdro.controller import Controller
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem
from gdro.strategies.compose import is_composition
from gdro.strategies.names import canonical
from gdro.strategies.presets import ALIASES, PRESETS
from gdro.strategies.registry import MEAN_ROLLOUTS, list_strategies, make_strategy, strategy_class
from gdro.strategy import Strategy
from gdro.types import Extension, Outcome, Plan, Request

_RATES = (0.0, 0.1, 0.5, 0.9, 1.0)
_EACH, _STEPS, _PROMPTS, _MEAN = 40, 60, 20, 4


def table() -> str:
    """Every strategy: name, what it changes, source and cost; then presets and other names."""
    rows = [("name", "changes", "source", "cost")]
    for name in list_strategies():
        cls = strategy_class(name)
        rows.append((name, cls.changes, cls.source, cls.cost))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines += ["", "presets:"]
    for name, preset in PRESETS.items():
        lines += [f"  {name} = {preset.written(MEAN_ROLLOUTS)}", f"    {preset.note}"]
        lines += [f"    {preset.condition}"] * bool(preset.condition)
    lines += ["", "other names: " + ", ".join(f"{alias} = {name}" for alias, name in ALIASES.items())]
    lines += ["", "Names are case-insensitive. gdro strategies NAME explains one."]
    lines += ['Join with +, each part changing something else: --strategy "mopps + rollout-gdro".']
    return "\n".join(line.rstrip() for line in lines)


def explanation(name: str) -> str:
    """Documentation, defaults and a worked example of a strategy or composition, by name."""
    strategy, name = make_strategy(name), canonical(name)
    lines = [f"{name}: {_about(name, strategy)}", "", "defaults:"]
    options = strategy.config()
    lines += [f"  {option} = {value!r}" for option, value in options.items()] or ["  (no options)"]
    lines += ["", *example(strategy), "", "example:", f"  {_command(name, options)}"]
    return "\n".join(lines)


def _about(name: str, strategy: Strategy[Any]) -> str:
    preset = PRESETS.get(name)
    if preset is None:
        return inspect.getdoc(strategy) or ""
    mean = MEAN_ROLLOUTS
    condition = f" Use it {preset.condition}." if preset.condition else ""
    return (
        f"{preset.note}.{condition}\n\n"
        f"With {mean} rollouts a prompt on average: {preset.written(mean)}. "
        "gdro strategies PART explains a part."
    )


def example(strategy: Strategy[Any]) -> list[str]:
    """Lines of a table: what a strategy does with prompts of five known pass rates that do not learn.

    By pass rate: the share of draws, rollouts and rows a draw, and the mean weight of those rows (with a
    memory, replays a draw), over the second half of 60 steps.
    """
    rate_N = np.repeat(_RATES, _EACH)
    difficulty_N = 100.0 * (1.0 - rate_N)
    keys = [f"p{i}" for i in range(len(rate_N))]
    columns = dict.fromkeys(strategy.columns, difficulty_N)
    mean, controller = _mean(strategy), Controller(strategy, Problem(keys, columns=columns), seed=0)
    sums = np.zeros((5, len(_RATES)))
    for step in range(_STEPS):
        counts = _step(controller, rate_N, mean, np.random.default_rng(step))
        sums += counts if step >= _STEPS // 2 else 0.0
    draws_G, spent_G, rows_G, weight_G, recalls_G = sums
    recalls = strategy.remembers
    lines = [
        f"a worked example: {len(rate_N)} prompts, {_PROMPTS} a step with {mean} rollouts on average, "
        f"steps {_STEPS // 2} to {_STEPS}",
        "  pass rate  share of draws  rollouts a draw  rows kept a draw  weight of a row"
        + "  replays asked a draw" * recalls,
    ]
    for g, rate in enumerate(_RATES):
        share, draws, rows = draws_G[g] / draws_G.sum(), max(1.0, draws_G[g]), max(1.0, rows_G[g])
        lines.append(
            f"  {rate:9.1f}  {share:14.2f}  {spent_G[g] / draws:15.1f}  {rows_G[g] / draws:16.1f}  "
            f"{weight_G[g] / rows:15.2f}" + f"{recalls_G[g] / draws:22.2f}" * recalls
        )
    return lines


def _mean(strategy: Strategy[Any]) -> int:
    """Rollouts a prompt on average: the example's, or the nearest that the strategy's bounds allow."""
    bounds = strategy.bounds
    return _MEAN if bounds is None else min(max(_MEAN, bounds.n_min), bounds.n_max)


def _step(controller: Controller, rate_N: FloatArray, mean: int, rng: np.random.Generator) -> FloatArray:
    """Draws, rollouts, trained rows, their weights and replays of a step by pass rate, shape (5, G)."""
    plan = controller.plan(Request(_PROMPTS, _PROMPTS * mean))
    outcome = _scored(plan, rate_N, rng)
    while (extension := controller.extend(outcome)) is not None:
        outcome = outcome.joined(_scored(extension, rate_N, rng))
    weights = controller.weigh(outcome)
    controller.observe(outcome, np.zeros(len(outcome.prompt_R)))
    class_R = outcome.prompt_R // _EACH
    drawn_P: IntArray = np.unique(outcome.prompt_R) // _EACH
    keep_R = weights.keep_R
    replays = np.array([r.prompt for r in weights.recall if r.advantage is None], np.int64)
    counted = (drawn_P, class_R, class_R[keep_R], class_R[keep_R], replays // _EACH)
    amounts = (None, None, None, weights.weight_R[keep_R], None)
    return np.array(
        [np.bincount(c, a, len(_RATES)) for c, a in zip(counted, amounts, strict=True)], float
    )


def _scored(plan: Plan | Extension, rate_N: FloatArray, rng: np.random.Generator) -> Outcome:
    right_R = rng.random(len(plan.prompt_R)) < rate_N[plan.prompt_R]
    return Outcome(plan.ticket, plan.prompt_R, right_R.astype(np.float64), right_R)


def _command(name: str, options: dict[str, Any]) -> str:
    if is_composition(name) or name in PRESETS:
        return f'gdro train --strategy "{name}"'
    number = next((k for k, v in options.items() if isinstance(v, int | float | str)), None)
    if number is None:
        return f"gdro train --strategy {name}"
    return f"gdro train --strategy {name} arms.{name}.options.{number}={options[number]}"
