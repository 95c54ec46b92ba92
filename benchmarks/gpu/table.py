"""The tables of one or more sittings.

    python benchmarks/gpu/table.py results/gsm8k/*.jsonl
    python benchmarks/gpu/table.py --pairs results/gsm8k/*.jsonl
    python benchmarks/gpu/table.py --base results/gsm8k/*.speed.json

Without an option: means of each arm at each step that it shares with the control, `grpo`. Effects are
paired by seed, and only within a sitting: another machine teaches another base. Arms are compared at
equal steps; `rollouts` and `tokens` say what they generated for them (`dapo` several times as many as
the others, as it replaces groups without a signal).

A change is the mean of the pairs' relative changes with its 95% t interval, mean +- t s / sqrt(n), for
n pairs with standard deviation s and t the 97.5% quantile of Student's t with n - 1 degrees of freedom;
one pair has no interval. `s a step` is a run's time of training over its steps, without evaluations; in
sittings until 27 November 2026, whose lines name no `call`, with the one after the last step (with
--pairs the trainer's own time of the steps since the evaluation before). Behind it stands how many
trainings ran at once and whether they shared the GPU (MPS), where the sitting recorded it.

`--pairs` prints each pair, and over the pairs s, the interval's half width, and the pairs for an effect
of 3%: the smallest n with t s / sqrt(n) <= 3%, at which an effect of that size is found every second
time. `all arms` takes the pairs of all arms together, for an estimate of the noise, not of an effect.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from effects import EFFECT, effect, pairs_needed
from records import Line, bases_in, k_of, lines_in, sampled

from gdro.errors import GdroError

Run = dict[int, Line]
"""Evaluations by their steps."""
_TAIL = ("hardest (base p < .02)",)
_EASY = ("medium (.3 to .9)", "easy (base p >= .9)")
_CONTROL = "grpo"
_ZERO = "control is 0"


def evaluations(lines: Sequence[Line], k: int, *, paired: bool = True) -> str:
    """Levels and paired effects of every arm, at each step that it shares with the control.

    Args:
        lines: As `arms.gathered` gives them.
        k: Of the headline's pass@k.
        paired: Whether the arms are meant to be compared, so that a missing control is noted.
    """
    runs, ks = _runs(lines), sampled(lines, k)
    has_control = any(arm == _CONTROL for _, _, arm in runs)
    changes = [f"pass@{k} change", "pass@1 change"] if has_control else []
    levels = ["pass@1", *(f"pass@{n}" for n in ks)]
    ends = [f"tail pass@{k}", "easy pass@1", "rollouts", "tokens", "s a step"]
    curves = ["entropy", "length", "lucky: fresh", "replayed"]
    heads = ["arm", "step", "pairs" if has_control else "runs", *levels, *changes, *ends, *curves]
    body, left_out = [], []
    for arm, step in _places(runs):
        own = {key: run for key, run in runs.items() if key[2] == arm and step in run}
        both = {key: run for key, run in own.items() if _control(runs, key, step) is not None}
        if both and len(own) > len(both):
            left_out += [f"{arm} seed {key[1]} at step {step}" for key in own.keys() - both.keys()]
        controls = [_control(runs, key, step) for key in both]
        shown = list((both or own).values())
        moves = _changes(arm, step, list(both.values()), controls, k) if has_control else []
        num = len(both) if has_control else len(shown)
        body.append([arm, str(step), str(num), *_levels(shown, step, k, ks), *moves])
        body[-1] += _ends(shown, step, k)
    notes = []
    if paired and not has_control:
        notes.append(f"No run of `{_CONTROL}`, the control: add it to --arms, with the same seeds.")
    if left_out:
        notes.append(
            f"Not in the means, as `{_CONTROL}` lacks that seed: {', '.join(sorted(left_out))}."
        )
    return "\n\n".join((_markdown(heads, body), *notes))


def _runs(lines: Sequence[Line]) -> dict[tuple[str, int, str], Run]:
    """Evaluations of each run by base, seed and arm."""
    runs: dict[tuple[str, int, str], Run] = defaultdict(dict)
    for line in lines:
        runs[str(line.get("base")), line["seed"], line["arm"]][line["step"]] = line
    return dict(sorted(runs.items()))


def _control(runs: dict[tuple[str, int, str], Run], key: tuple[str, int, str], step: int) -> Line | None:
    """The control's evaluation with the same base, seed and step."""
    return runs.get((*key[:2], _CONTROL), {}).get(step)


def _places(runs: dict[tuple[str, int, str], Run]) -> list[tuple[str, int]]:
    """Arms and steps in the order of the table; where an arm has pairs, the steps of its pairs."""
    steps: dict[str, dict[int, bool]] = defaultdict(dict)
    for key, run in runs.items():
        for step in run:
            paired = _control(runs, key, step) is not None
            steps[key[2]][step] = steps[key[2]].get(step, False) or paired
    ordered = sorted(steps, key=lambda arm: (arm != _CONTROL, arm))
    return [
        (arm, step)
        for arm in ordered
        for step in sorted(steps[arm])
        if steps[arm][step] or not any(steps[arm].values())
    ]


def _levels(shown: Sequence[Run], step: int, k: int, ks: Sequence[int]) -> list[str]:
    names = [f"mean@{k}", *(f"pass@{n}" for n in ks)]
    return [f"{np.mean([run[step][name] for run in shown]):.3f}" for name in names]


def _changes(
    arm: str, step: int, paired: Sequence[Run], controls: Sequence[Line | None], k: int
) -> list[str]:
    if arm == _CONTROL:
        return ["", ""]
    if not paired:
        return ["no pair"] * 2
    both = [(run[step], control) for run, control in zip(paired, controls, strict=True) if control]
    cells = []
    for name in (f"pass@{k}", f"mean@{k}"):
        zero = not all(control[name] for _, control in both)
        cells.append(_ZERO if zero else str(effect([own[name] / c[name] - 1.0 for own, c in both])))
    return cells


def _ends(shown: Sequence[Run], step: int, k: int) -> list[str]:
    last = [run[step] for run in shown]
    curves = [_joined(run, step) for run in shown]
    return [
        _slices(last, _TAIL, f"pass@{k}"),
        _slices(last, _EASY, f"mean@{k}"),
        f"{np.mean([line['rollouts'] for line in last]):,.0f}",
        f"{np.mean([line['tokens'] for line in last]):,.0f}",
        _seconds(last, lambda line: line["seconds"] / line["step"]),
        _first_to_last(curves, "entropy"),
        _first_to_last(curves, "length"),
        *_false_equations(curves),
    ]


def _seconds(lines: Sequence[Line], value: Callable[[Line], float]) -> str:
    """Mean seconds of a step, apart for trainings that ran in different company."""
    apart: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        apart[at_once(line)].append(value(line))
    return " / ".join(f"{np.mean(some):.2f}{way and f' ({way})'}" for way, some in apart.items())


def at_once(line: Line) -> str:
    """How many trainings ran at once and how they shared the GPU; empty if that is not on record."""
    if "processes" not in line:
        return ""
    shared = "MPS" if line["sharing"].startswith("processes share") else "in turns"
    return f"{line['processes']} at once, {shared}" if line["processes"] > 1 else "alone"


def _joined(run: Run, step: int) -> dict[str, list[float]]:
    """The curves of a run up to a step."""
    history = [run[at] for at in sorted(run) if at <= step]
    names = {name for line in history for name in line["curves"]}
    return {name: [v for line in history for v in line["curves"].get(name, [])] for name in names}


def _slices(lines: Sequence[Line], names: Sequence[str], metric: str) -> str:
    parts = [s for line in lines for s in line["slices"] if s["name"] in names]
    if not parts:
        return ""
    weight, value = np.array([(s["num_prompts"], s[metric]) for s in parts]).T
    return f"{float((weight * value).sum() / weight.sum()):.3f}"


def _first_to_last(curves: Sequence[dict[str, list[float]]], name: str) -> str:
    """Means of the first and the last tenth of the steps."""
    parts = [np.array_split(np.array(c[name]), 10) for c in curves if len(c.get(name, [])) >= 10]
    if not parts:
        return ""
    first, last = (float(np.mean([part[i].mean() for part in parts])) for i in (0, -1))
    return f"{first:.2f} to {last:.2f}"


def _false_equations(curves: Sequence[dict[str, list[float]]]) -> list[str]:
    """Of the successes, those after a false equation: of fresh rollouts, and of recalled ones."""
    return [
        _share(curves, "rewards/lucky/mean", "rewards/final_answer/mean"),
        _share(curves, "gdro/memory_reward_lucky", "gdro/memory_reward_final_answer"),
    ]


def _share(curves: Sequence[dict[str, list[float]]], part: str, whole: str) -> str:
    right = sum(sum(c.get(whole, [])) for c in curves)
    return f"{sum(sum(c.get(part, [])) for c in curves) / right:.1%}" if right else ""


def slices(lines: Sequence[Line], k: int) -> str:
    """The last evaluation of each run, a row for each slice by the base's pass rate."""
    ordered = sorted(lines, key=lambda line: line["step"])
    last = {(line["seed"], line["arm"], str(line.get("base"))): line for line in ordered}
    ks = sampled(lines, k)
    heads = [
        "seed",
        "arm",
        "step",
        "slice",
        "problems",
        "pass@1",
        *(f"pass@{n}" for n in ks),
        "rollouts",
    ]
    table = []
    for seed, arm, base in sorted(last, key=lambda key: (key[0], key[2], key[1] != _CONTROL)):
        line = last[seed, arm, base]
        for part in line["slices"]:
            low, high = part[f"ci_pass@{k}"]
            tried = f"{part[f'pass@{k}']:.3f} ({low:.3f} to {high:.3f})"
            most = [f"{part[f'pass@{n}']:.3f}" for n in ks[1:]]
            about = [str(seed), arm, str(line["step"]), part["name"], str(part["num_prompts"])]
            table.append([*about, f"{part[f'mean@{k}']:.3f}", tried, *most, f"{line['rollouts']:,}"])
    return _markdown(heads, table)


def pairs(lines: Sequence[Line], k: int) -> str:
    """Each pair of runs, and what its changes are over the pairs."""
    runs = _runs(lines)
    names = {"pass@1": f"mean@{k}"} | {f"pass@{n}": f"pass@{n}" for n in sampled(lines, k)}
    ours = ("rollouts", "entropy", "lucky: fresh")
    each = [cell for name in ours for cell in (name, f"{_CONTROL}'s")]
    heads = ["seed", "arm", "step", "s a step", f"{_CONTROL}'s", *names, *each, "replayed"]
    body, changes = [], defaultdict(list)
    places = [(step, key) for key, run in runs.items() for step in run if key[2] != _CONTROL]
    for step, key in sorted(places, key=lambda place: (place[0], place[1][1:])):
        own, control = runs[key][step], _control(runs, key, step)
        if control is None:
            continue
        both = (runs[key], runs[*key[:2], _CONTROL])
        for name, metric in names.items():
            if control[metric]:
                moved = own[metric] / control[metric] - 1.0
                changes[step, key[2], name].append(moved)
                changes[step, "all arms", name].append(moved)
        cells = [f"{own[n] / control[n] - 1:+.1%}" if control[n] else _ZERO for n in names.values()]
        times = [_seconds([line], _step_time) for line in (own, control)]
        body.append([str(key[1]), key[2], str(step), *times, *cells, *_sides(both, step)])
    if not body:
        return f"There is no pair: no arm shares a base, a seed and a step with `{_CONTROL}`."
    return f"{_markdown(heads, body)}\n\n{_over_pairs(changes)}"


def _step_time(line: Line) -> float:
    """Seconds of the steps since the evaluation before."""
    return float(np.mean(line["curves"].get("step_time") or [line["seconds"] / line["step"]]))


def _sides(both: tuple[Run, Run], step: int) -> list[str]:
    """Rollouts, entropy and false equations of a run and its control, and those of recalled rollouts."""
    curves = [[_joined(run, step)] for run in both]
    rollouts = [f"{run[step]['rollouts']:,}" for run in both]
    entropy = [_first_to_last(curve, "entropy") for curve in curves]
    (fresh, replayed), (other, _) = (_false_equations(curve) for curve in curves)
    return [*rollouts, *entropy, fresh, other, replayed]


def _over_pairs(changes: dict[tuple[int, str, str], list[float]]) -> str:
    heads = ["step", "arm", "change of", "pairs", "mean", "standard deviation", "95% interval"]
    single = len({arm for _, arm, _ in changes}) <= 2  # one arm, which is all arms
    body = []
    for (step, arm, name), moved in sorted(changes.items(), key=lambda item: item[0][:2]):
        if single and arm == "all arms":
            continue
        over = effect(moved)
        cells = ["", "", ""]
        if over.half is not None and over.deviation is not None:
            cells = [f"{over.deviation:.1%}", f"+-{over.half:.1%}", f"{pairs_needed(over.deviation):,}"]
        body.append([str(step), arm, name, str(over.pairs), f"{over.mean:+.1%}", *cells])
    return _markdown([*heads, f"pairs for {EFFECT:.0%}"], body)


def bases(paths: Sequence[Path]) -> str:
    """Held-out figures of the bases, from the `speed.json` of sittings.

    `solved in none` is the number of problems without one right sample, from the slices in which no
    sample is right; empty if the hardest slice has one.
    """
    places = [(path, name, line) for path in paths for name, line in bases_in(path).items()]
    ks = sorted({int(key[5:]) for _, _, line in places for key in line if key.startswith("pass@")})
    heads = ["file", "entry", "weights", "problems", "samples", "pass@1", *(f"pass@{n}" for n in ks)]
    body = []
    for path, name, line in places:
        one = f"mean@{k_of(line)}"
        zero = [part["num_prompts"] for part in line["slices"] if part[one] == 0.0]
        hidden = any(part[one] for part in line["slices"] if part["name"] in _TAIL)
        levels = [f"{line[f'pass@{n}']:.3f}" if f"pass@{n}" in line else "" for n in ks]
        about = [path.name, name, line["weights"], str(line["num_prompts"]), str(line["samples"])]
        body.append([*about, f"{line[one]:.3f}", *levels, "" if hidden else str(sum(zero))])
    return _markdown([*heads, "solved in none"], body)


def _markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *body))


def main() -> None:
    """Command line."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("files", nargs="+", type=Path, help="sitting.jsonl of sittings")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--slices", action="store_true", help="the last evaluations by base difficulty")
    what.add_argument("--pairs", action="store_true", help="each pair of runs, and noise over pairs")
    what.add_argument("--base", action="store_true", help="the bases' figures; FILES are speed.json")
    given = parser.parse_args()
    try:
        if given.base:
            print(bases(given.files))
            return
        lines, k = lines_in(given.files)
    except GdroError as error:
        raise SystemExit(f"table.py: {error}") from None
    print((slices if given.slices else pairs if given.pairs else evaluations)(lines, k))


if __name__ == "__main__":
    main()
