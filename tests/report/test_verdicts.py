"""Each verdict on logs where it must speak, and on near ones where it must not."""

from __future__ import annotations

import numpy as np
import pytest
from runs import run, visits

from gdro.report.verdicts import verdicts
from gdro.report.verdicts.adversary import adversary_asleep, adversary_collapsed, allocation_asleep
from gdro.report.verdicts.budget import between_runs, budget_wasted, neutrality
from gdro.report.verdicts.html import verdicts_html
from gdro.report.verdicts.idle import identical_to_grpo
from gdro.report.verdicts.rightness import one_verdict
from gdro.report.verdicts.sources import refused_source
from gdro.report.verdicts.tracker import bins_oscillate, moves_of, starved
from gdro.report.verdicts.verdict import Verdict

EVEN, FOUR = [0, 10, 10, 10], [4, 4, 4, 4]


@pytest.mark.parametrize(
    ("weight", "asleep"), [([1, 0.99, 1.0, 1.015], True), ([1, 0.97, 1.0, 1.0], False)]
)
def test_adversary_asleep(weight, asleep):
    found = adversary_asleep(run(EVEN, FOUR, weight))
    assert (found is not None) is asleep
    # Plain GRPO has no adversary that could sleep.
    assert adversary_asleep(run(EVEN, FOUR, [1, 1, 1, 1], strategy=())) is None


def test_adversary_that_wakes_late_is_awake():
    late = run(EVEN, FOUR, [1, 1, 1, 1])
    late.bins["weight"][30:, 1] = 1.5
    assert adversary_asleep(late) is None


def test_adversary_that_resamples_is_judged_by_its_probabilities():
    drawn = run(EVEN, FOUR, [1, 1, 1, 1], options={"weigher": {"mode": "resample"}})
    assert adversary_asleep(drawn) is not None  # q is even
    drawn.strategy["q"][:] = [0.8, 0.1, 0.1]
    assert adversary_asleep(drawn) is None


def test_adversary_collapsed():
    found = adversary_collapsed(run(EVEN, FOUR, [1, 50, 0.1, 0.1]))
    assert found is not None and "1.0 effective bins" in found.evidence
    assert adversary_collapsed(run(EVEN, FOUR, [1, 2, 1, 0.5])) is None
    # All prompts in one bin: that is the pool, not the adversary.
    assert adversary_collapsed(run([0, 30, 0, 0], FOUR, [1, 1, 1, 1])) is None
    assert adversary_collapsed(run(EVEN, FOUR, [1, 50, 0.1, 0.1], strategy=())) is None


def test_allocation_asleep():
    assert allocation_asleep(run(EVEN, FOUR, [1] * 4, strategy=("price",))) is not None
    assert allocation_asleep(run(EVEN, [4, 6, 4, 2], [1] * 4, strategy=("price",))) is None
    assert allocation_asleep(run(EVEN, FOUR, [1] * 4, strategy=())) is None


@pytest.mark.parametrize(
    ("hopeless", "visited", "severity"),
    [(20, 5, "warning"), (7, 5, "note"), (4, 5, None), (20, 4, None)],
)
def test_budget_wasted(hopeless, visited, severity):
    rows = [(p, s, 0, 4, 0) for p in range(hopeless) for s in range(visited)]
    rows += [(p, s, 1, 4, 2) for p in range(hopeless, 100) for s in range(visited)]
    found = budget_wasted(run(EVEN, FOUR, [1] * 4, seen=visits(rows)))
    assert (found and found.severity) == severity
    if found is not None:
        assert f"{hopeless} prompts were visited 5 times" in found.evidence


@pytest.mark.parametrize(
    ("right", "elsewhere", "visited", "speaks"),
    [(0, 2, 10, True), (1, 2, 10, False), (0, 0, 10, False), (0, 2, 2, False)],
)
def test_a_source_that_the_verifier_refuses(right, elsewhere, visited, speaks):
    """Twenty prompts of each source; without sources, and where nothing succeeds, it is silent."""
    rows = [(p, s, 0, 4, right if s == p == 0 else 0) for p in range(20) for s in range(visited)]
    rows += [(p, s, 1, 4, elsewhere) for p in range(20, 40) for s in range(visited)]
    made = run(EVEN, FOUR, [1] * 4, seen=visits(rows))
    made.__dict__["sources"] = {f"k{p}": "deepmath" if p < 20 else "gsm8k" for p in range(40)}
    verdict = refused_source(made)
    assert (verdict is not None) is speaks
    if verdict is not None:
        assert "source 'deepmath' was ever accepted" in verdict.words
        assert "800 rollouts (50%)" in verdict.evidence and "50% of the others" in verdict.evidence
    made.__dict__["sources"] = {}
    assert refused_source(made) is None


def test_bins_oscillate():
    def walk(path):
        return visits([(p, s, b, 4, 2) for p in range(10) for s, b in enumerate(path)])

    to_and_fro = walk([3, 4, 3, 4, 3, 4])
    assert (moves_of(to_and_fro).moves, moves_of(to_and_fro).reversals) == (50, 40)
    found = bins_oscillate(run(EVEN, FOUR, [1] * 4, seen=to_and_fro, difficulty={"hysteresis": 0.03}))
    assert found is not None and "80%" in found.evidence and "0.03" in found.evidence
    for steady in ([-1, 0, 1, 2, 3, 4], [3, 3, 3, 3, 3, 3], [2, 3, 3, 4, 4, 3]):
        assert bins_oscillate(run(EVEN, FOUR, [1] * 4, seen=walk(steady))) is None


@pytest.mark.parametrize(
    ("difficulty", "visited", "severity"),
    [
        ({"tracker": "decayed", "decay": 0.7}, 3, "warning"),
        ({"tracker": "decayed", "decay": 0.7}, 4, None),
        ({"tracker": "decayed", "decay": 0.9}, 6, "note"),
        ({"tracker": "windowed", "window": 50}, 18, "note"),
        ({"tracker": "windowed", "window": 10}, 18, None),
        ({}, 2, "warning"),
    ],
)
def test_starved(difficulty, visited, severity):
    seen = visits([(p, s, 0, 4, 2) for p in range(9) for s in range(visited)])
    found = starved(run(EVEN, FOUR, [1] * 4, seen=seen, difficulty=difficulty))
    assert (found and found.severity) == severity


def test_compute_neutrality():
    kept = neutrality(run(EVEN, FOUR, [1] * 4))
    assert kept is not None and kept.severity == "good" and "exactly 100" in kept.evidence
    broken = neutrality(run(EVEN, FOUR, [1] * 4, spent=[100.0] * 39 + [160.0]))
    assert broken is not None and broken.severity == "warning" and "100 to 160" in broken.evidence
    assert all(
        "Compute neutrality means that" in v.evidence.replace(": c", ": C") for v in (kept, broken)
    )
    lost = run(EVEN, FOUR, [1] * 4)
    lost.ledger["missing"][-1] = 3
    found = neutrality(lost)
    assert found is not None and found.severity == "note" and "3 planned" in found.evidence


def test_runs_that_spent_differently():
    same, more = run(EVEN, FOUR, [1] * 4), run(EVEN, FOUR, [1] * 4, spent=102.0)
    object.__setattr__(more, "name", "more")
    assert between_runs([same]) is None
    assert between_runs([same, run(EVEN, FOUR, [1] * 4, spent=100.5)]) is None
    found = between_runs([same, more])
    assert found is not None and found.evidence.startswith("more generated 102")


def test_the_gravest_comes_first_and_good_news_is_told_once():
    asleep, fine = run(EVEN, FOUR, [1] * 4), run(EVEN, [4, 6, 4, 2], [1, 3, 2, 1])
    object.__setattr__(fine, "name", "other")
    found = verdicts([asleep, fine])
    assert [v.severity for v in found] == ["warning", "good"]
    assert found[1].words == "mine, other: compute neutrality kept."


def test_html_escapes_and_links_only_to_figures_of_the_page():
    page = verdicts_html([Verdict("warning", "<b>x</b>", "a & b", "weights")], {"weights"})
    assert "&lt;b&gt;x" in page and "a &amp; b" in page and 'href="#weights"' in page
    assert "href" not in verdicts_html([Verdict("note", "x", "y", "weights")], set())
    assert "No fault found" in verdicts_html([], set())
    assert "No fault" not in page


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1.0, "every rollout counts as right"), (0.0, "no rollout counts as right"), (0.5, None)],
)
def test_one_verdict_for_all(rate, words):
    made = run(EVEN, FOUR, [1] * 4, correct="reward 'format' above 0.5")
    made.metrics["pass_rate"][:] = rate
    made.metrics["reward"] = np.linspace(0.9, 1.4, 40)
    found = one_verdict(made)
    assert (found is not None) is (words is not None)
    if found is None:
        return
    assert found.severity == "warning" and words in found.words
    for part in ("reward 'format' above 0.5", "between 0.9 and 1.4", "correct=(NAME, THRESHOLD)"):
        assert part in found.evidence
    # No step size helps there: the adversary is not blamed.
    assert [v.words for v in verdicts([made]) if v.severity == "warning"] == [found.words]
    made.metrics["pass_rate"][7] = 0.9
    assert one_verdict(made) is None or rate == 0.0


def test_steps_without_any_verdict_count_for_nothing():
    made = run(EVEN, FOUR, [1] * 4)
    made.metrics["pass_rate"][:] = np.nan
    found = one_verdict(made)
    assert found is not None and found.words == "mine: no rollout was judged."
    made.metrics["pass_rate"][:4] = 0.0
    assert one_verdict(made) is None, "four steps are too few"
    made.metrics["pass_rate"][:5] = 0.0
    assert one_verdict(made) is not None


APPLIED = {"strategy": "rollout-gdro", "applied": True, "selects": False}


def even(rollouts=(4, 4), weight=(1, 1), **header):
    once = visits([(0, 0, -1, 4, 1), (1, 1, -1, 4, 2)])
    made = run(EVEN, FOUR, [1, 1, 1, 1], strategy=(), seen=once)
    made.header.update({**APPLIED, **header})
    low, high = rollouts
    made.metrics.update(
        {k: np.full(40, float(v)) for k, v in (("rollouts_min", low), ("rollouts_max", high))}
        | {k: np.full(40, float(v)) for k, v in zip(("weight_mean", "weight_max"), weight, strict=True)}
    )
    return made


def test_a_run_that_did_nothing_was_grpo():
    found = identical_to_grpo(even())
    assert found is not None and found.words == "mine: identical to GRPO."
    assert "`rollout-gdro` did nothing" in found.evidence and "prior_column" in found.evidence
    often = even()
    often.__dict__["visits"] = visits([(0, s, 1, 4, 1) for s in range(9)])
    found = identical_to_grpo(often)
    assert found is not None and "prior_column" not in found.evidence
    often.ledger["rollouts"] = np.arange(4.0, 164.0, 4.0)
    found = identical_to_grpo(often)
    assert found is not None and "A step had one prompt" in found.evidence


@pytest.mark.parametrize(
    "made",
    [
        even(rollouts=(3, 5)),
        even(weight=(1, 1.2)),
        even(strategy="uniform"),
        even(applied=False),
        even(selects=True),
        run(EVEN, FOUR, [1, 1, 1, 1]),  # an older log does not say
    ],
    ids=["allocates", "weighs", "uniform", "shadow", "selects", "older"],
)
def test_a_run_that_acts_or_must_not_is_no_grpo_in_disguise(made):
    assert identical_to_grpo(made) is None


def test_what_was_recalled_is_something():
    made = even()
    made.ledger["recalled"] = np.arange(40.0)
    assert identical_to_grpo(made) is None
