"""The tables of one or more sittings: `python benchmarks/gpu/table.py results/gsm8k/*.jsonl`.

With `--slices` the last evaluation of each run by base difficulty, with 95% intervals over problems;
with `--pairs` the changes of each pair.
Effects are paired by seed, and only within a sitting: another machine teaches another base.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.evaluation.scores import interval

Line = dict[str, Any]
_TAIL = ("hardest (base p < .02)",)
_EASY = ("medium (.3 to .9)", "easy (base p >= .9)")
_CONTROL = "grpo"
_FEWEST = 3
"""Pairs that an interval needs."""


def rows(lines: Sequence[Line], k: int) -> tuple[list[str], list[list[str]]]:
    """Levels and paired effects of every arm, at each step that it shares with the control.

    Args:
        lines: As `arms.gathered` gives them.
        k: Of the headline's pass@k.
    """
    runs: dict[tuple[str, int, str], dict[int, Line]] = defaultdict(dict)
    for line in lines:
        runs[str(line.get("base")), line["seed"], line["arm"]][line["step"]] = line
    heads = [
        "arm",
        "step",
        "pairs",
        "pass@1",
        f"pass@{k}",
        "pass@16",
        f"pass@{k} change",
        "pass@1 change",
        f"tail pass@{k}",
        "easy pass@1",
        "tokens",
        "s a step",
        "entropy",
        "length",
        "lucky: fresh",
        "replayed",
    ]
    arms = sorted({arm for _, _, arm in runs}, key=lambda arm: (arm != _CONTROL, arm))
    table = []
    for arm in arms:
        steps = {step for key, own in runs.items() if key[2] == arm for step in _shared(runs, key, own)}
        for step in sorted(steps):
            both = [
                (runs[b, s, _CONTROL], own)
                for (b, s, a), own in sorted(runs.items())
                if a == arm and step in own and step in runs.get((b, s, _CONTROL), {})
            ]
            pairs = [(control[step], own[step]) for control, own in both]
            histories = [[own[at] for at in sorted(own) if at <= step] for _, own in both]
            table.append(_row(arm, step, pairs, histories, k))
    return heads, table


def _shared(runs: Any, key: tuple[str, int, str], own: dict[int, Line]) -> set[int]:
    base, seed, _ = key
    return own.keys() & runs.get((base, seed, _CONTROL), {}).keys()


def _row(
    arm: str, step: int, pairs: list[tuple[Line, Line]], histories: list[list[Line]], k: int
) -> list[str]:
    mine = [b for _, b in pairs]

    def mean(of: Any) -> float:
        return float(np.mean([of(line) for line in mine]))

    def change(name: str) -> str:
        if arm == _CONTROL:
            return ""
        if not all(a[name] for a, _ in pairs):
            return "?"
        change_S = np.array([b[name] / a[name] - 1.0 for a, b in pairs])
        if len(pairs) < _FEWEST:
            return f"{change_S.mean():+.1%}"
        low, high = interval(change_S)
        return f"{change_S.mean():+.1%} ({low:+.1%} to {high:+.1%})"

    one = f"mean@{k}"
    curves = [_joined(history) for history in histories]
    return [
        arm,
        str(step),
        str(len(pairs)),
        f"{mean(lambda b: b[one]):.3f}",
        f"{mean(lambda b: b[f'pass@{k}']):.3f}",
        f"{mean(lambda b: b.get('pass@16', np.nan)):.3f}",
        change(f"pass@{k}"),
        change(one),
        _slices(mine, _TAIL, f"pass@{k}"),
        _slices(mine, _EASY, one),
        f"{mean(lambda b: b['tokens']):,.0f}",
        f"{mean(lambda b: b['seconds'] / b['step']):.2f}",
        _ends(curves, "entropy"),
        _ends(curves, "length"),
        _share(curves, "rewards/lucky/mean", "rewards/final_answer/mean"),
        _share(curves, "gdro/memory_reward_lucky", "gdro/memory_reward_final_answer"),
    ]


def _joined(history: list[Line]) -> dict[str, list[float]]:
    names = {name for line in history for name in line["curves"]}
    return {name: [v for line in history for v in line["curves"].get(name, [])] for name in names}


def _slices(lines: list[Line], names: Sequence[str], metric: str) -> str:
    slices = [s for line in lines for s in line["slices"] if s["name"] in names]
    found = [(s["num_prompts"], s[metric]) for s in slices]
    if not found:
        return ""
    weight, value = np.array(found).T
    return f"{float((weight * value).sum() / weight.sum()):.3f}"


def _ends(curves: list[dict[str, list[float]]], name: str) -> str:
    parts = [np.array_split(np.array(c[name]), 10) for c in curves if len(c.get(name, [])) >= 10]
    if not parts:
        return ""
    first, last = (float(np.mean([part[i].mean() for part in parts])) for i in (0, -1))
    return f"{first:.2f} to {last:.2f}"


def _share(curves: list[dict[str, list[float]]], part: str, whole: str) -> str:
    """Of the successes, those after a false equation."""
    right = sum(sum(c.get(whole, [])) for c in curves)
    return f"{sum(sum(c.get(part, [])) for c in curves) / right:.1%}" if right else ""


def slices(lines: Sequence[Line], k: int) -> tuple[list[str], list[list[str]]]:
    """The last evaluation of each run, a row for each slice by the base's pass rate."""
    ordered = sorted(lines, key=lambda line: line["step"])
    last = {(line["seed"], line["arm"], str(line.get("base"))): line for line in ordered}
    heads = ["seed", "arm", "step", "slice", "problems", "pass@1", f"pass@{k}", "pass@16"]
    table = []
    for seed, arm, base in sorted(last, key=lambda key: (key[0], key[2], key[1] != _CONTROL)):
        line = last[seed, arm, base]
        for part in line["slices"]:
            low, high = part[f"ci_pass@{k}"]
            tried = f"{part[f'pass@{k}']:.3f} ({low:.3f} to {high:.3f})"
            most = part.get("pass@16", np.nan)
            about = [str(seed), arm, str(line["step"]), part["name"], str(part["num_prompts"])]
            table.append([*about, f"{part[f'mean@{k}']:.3f}", tried, f"{most:.3f}"])
    return heads, table


def changes(lines: Sequence[Line], k: int) -> tuple[list[str], list[list[str]]]:
    """Each pair of runs: seconds of a step without evaluations, and changes against the control."""
    found = {(str(line.get("base")), line["seed"], line["step"], line["arm"]): line for line in lines}
    names = [f"mean@{k}", f"pass@{k}", "pass@16"]
    heads = ["seed", "arm", "step", "s a step", "the control's", "pass@1", *names[1:]]
    table = []
    for base, seed, step, arm in sorted(found, key=lambda key: (key[2], key[1], key[3])):
        own, control = found[base, seed, step, arm], found.get((base, seed, step, _CONTROL))
        if arm == _CONTROL or control is None:
            continue
        times = [f"{np.mean(line['curves']['step_time']):.2f}" for line in (own, control)]
        moved = [f"{own[n] / control[n] - 1:+.1%}" if control.get(n) else "?" for n in names]
        table.append([str(seed), arm, str(step), *times, *moved])
    return heads, table


def printed(lines: Sequence[Line], k: int = 8, made: Any = rows) -> str:
    """The table as markdown."""
    heads, body = made(lines, k)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *body))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="lines of sittings")
    parser.add_argument("--slices", action="store_true", help="the last evaluations by base difficulty")
    parser.add_argument("--pairs", action="store_true", help="the changes of each pair of runs")
    given = parser.parse_args()
    absent = [str(path) for path in given.files if not path.is_file()]
    if absent:
        parser.error(f"there is no file {', '.join(absent)}")
    lines = [json.loads(line) for path in given.files for line in path.read_text().splitlines()]
    names = {name for line in lines for name in line if name.startswith("mean@")}
    if not names:
        parser.error("the files hold no evaluation; give sitting.jsonl of a sitting that trained")
    made = slices if given.slices else changes if given.pairs else rows
    print(printed(lines, int(min(names).removeprefix("mean@")), made))


if __name__ == "__main__":
    main()
