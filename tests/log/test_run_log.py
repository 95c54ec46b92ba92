"""The run log: torn lines, rewinding, no step twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

import helpers as h
from gdro import RunLog
from gdro.common.lock import LOCK
from gdro.log.run_log import GROUPS, PROMPTS, RUN, SCHEMA, STEPS, read_jsonl, shortened


def tickets(folder, name=STEPS):
    return [r["ticket"] for r in read_jsonl(folder / name)]


def test_a_step_and_its_groups(tmp_path):
    log = RunLog(tmp_path / "deep" / "run")
    log.append({"ticket": 0, "a": 1.5}, iter([{"ticket": 0, "key": "ü"}, {"ticket": 0}]))
    log.append({"ticket": 1}, [])
    assert list(read_jsonl(log.directory / STEPS)) == [{"ticket": 0, "a": 1.5}, {"ticket": 1}]
    assert next(read_jsonl(log.directory / GROUPS))["key"] == "ü"


@pytest.mark.parametrize("torn", ['{"ticket": 2', '{"ticket": 2}', "x", '{"ü": "'])
@pytest.mark.parametrize("name", [STEPS, GROUPS])
def test_torn_last_line_is_dropped(tmp_path, torn, name):
    RunLog(tmp_path).append({"ticket": 1}, [{"ticket": 1}])
    with (tmp_path / name).open("a") as file:
        file.write(torn)
    assert tickets(tmp_path, name) == [1]
    RunLog(tmp_path).append({"ticket": 2}, [{"ticket": 2}])
    assert tickets(tmp_path, name) == [1, 2]


def test_file_of_one_torn_line_becomes_empty(tmp_path):
    (tmp_path / STEPS).write_text('{"tick')
    RunLog(tmp_path)
    assert (tmp_path / STEPS).read_text() == ""


def test_rewind_keeps_closed_tickets(tmp_path):
    log = RunLog(tmp_path)
    log.rewind(lambda t: False)
    for t in (0, 2, 1, 3):
        log.append({"ticket": t}, [{"ticket": t, "n": i} for i in range(2)])
    log.rewind(lambda t: t != 2)
    assert tickets(tmp_path) == [0, 1, 3]
    assert tickets(tmp_path, GROUPS) == [0, 0, 1, 1, 3, 3]
    assert {p.name for p in tmp_path.iterdir()} == {STEPS, GROUPS, LOCK}


def test_set_aside_keeps_earlier_runs(tmp_path):
    log = RunLog(tmp_path)
    for t in (7, 8):
        log.append({"ticket": t}, [])
        log.set_aside()
        assert not (tmp_path / STEPS).exists()
    assert tickets(tmp_path, "steps.1.jsonl") == [7]
    assert tickets(tmp_path, "steps.2.jsonl") == [8]


def test_set_aside_keeps_what_ran_and_its_prompts(tmp_path):
    log = RunLog(tmp_path)
    log.append({"ticket": 0}, [])
    log.describe({"strategy": "a"})
    log.describe({"strategy": "not written: a log has one header"})
    log.write_prompts([("k", "text")])
    log.write_completions({"k": "answer"})
    log.set_aside()
    assert {p.name for p in tmp_path.iterdir()} == {
        "steps.1.jsonl",
        "groups.1.jsonl",
        "run.1.json",
        "prompts.1.jsonl",
        "completions.1.jsonl",
        LOCK,
    }
    assert json.loads((tmp_path / "run.1.json").read_text()) == {"schema": SCHEMA, "strategy": "a"}


def test_prompts_are_cut_on_one_line(tmp_path):
    RunLog(tmp_path).write_prompts([("a", "one\n two\t\u2028three"), ("b", "x" * 200)])
    texts = {r["key"]: r["text"] for r in read_jsonl(tmp_path / PROMPTS)}
    assert texts["a"] == "one two three"
    assert texts["b"] == "x" * 79 + "…" and len(texts["b"]) == 80
    assert shortened("y" * 80) == "y" * 80


@pytest.mark.parametrize("variant", ["joint", "uniform"])
def test_crash_and_resume_gives_the_log_of_an_unbroken_run(tmp_path, variant):
    def start(folder):
        return h.controller(variant, log=RunLog(tmp_path / folder))

    whole, plans = start("whole"), {}
    h.play(whole, h.EVENTS, plans)
    broken = start("broken")
    h.play(broken, h.EVENTS[:8], {})
    broken.save(tmp_path / "state.npz")
    # Steps after the checkpoint are lost with the crash, one in the middle of a line.
    h.play(broken, h.EVENTS[8:14], dict(plans))
    with (tmp_path / "broken" / GROUPS).open("a") as file:
        file.write('{"ticket": 5, "ke')
    resumed = start("broken")
    resumed.load(tmp_path / "state.npz")
    h.play(resumed, h.EVENTS[8:], dict(plans))
    for name in (STEPS, GROUPS):
        whole_text = (tmp_path / "whole" / name).read_text()
        assert (tmp_path / "broken" / name).read_text() == whole_text
    seen = tickets(tmp_path / "broken")
    assert len(seen) == len(set(seen)) == 7


def test_what_a_step_holds(tmp_path):
    c = h.controller("joint", prior=True, log=RunLog(tmp_path))
    h.warm(c, 3)
    plan = c.plan(h.request())
    before = c.belief.pass_rate(plan.prompt_P)
    scored = h.score(plan)
    weights = c.weigh(scored.outcome)
    c.observe(scored.outcome, scored.loss_R, extra={"global_step": 17})
    step = list(read_jsonl(tmp_path / STEPS))[-1]
    assert (step["ticket"], step["global_step"], step["applied"]) == (3, 17, True)
    assert step["ledger"] == c.ledger.as_dict()
    assert "shadow_rollouts" not in step
    assert {f"gdro/{k}": v for k, v in step["metrics"].items()}.items() <= c.metrics().items()
    assert all(len(v) == 10 for v in step["strategy"].values())
    bins = step["bins"]
    assert [len(v) for v in bins.values()] == [11] * 4
    assert sum(bins["prompts"]) == 16
    for b in range(11):
        mine = plan.bin_P == b - 1
        assert bins["prompts"][b] == mine.sum()
        if not mine.any():
            assert bins["rollouts"][b] is bins["weight"][b] is bins["pass_rate"][b] is None
            continue
        assert bins["rollouts"][b] == pytest.approx(plan.rollouts_P[mine].mean())
    assert step["metrics"]["weight_mean"] == pytest.approx(1.0)
    assert weights.weight_R.max() == pytest.approx(step["metrics"]["weight_max"])
    head = json.loads((tmp_path / RUN).read_text())
    assert (head["schema"], head["strategy"], head["num_bins"]) == (SCHEMA, "joint", 10)
    assert head["num_prompts"] == len(h.KEYS) and head["difficulty"]["hysteresis"] == 0.03
    records = [r for r in read_jsonl(tmp_path / GROUPS) if r["ticket"] == 3]
    # Before the visit: one more visit has moved the belief since.
    expected = np.array([r["predicted"] for r in records])
    assert ((expected >= 0) & (expected <= 1)).all()
    assert not np.allclose(expected, c.belief.pass_rate(plan.prompt_P), atol=1e-3)
    assert np.allclose(expected, before, atol=1e-4)
    tracked = c.curriculum()
    assert tracked["gdro/curriculum/bin_mean"] == pytest.approx(plan.bin_P[plan.bin_P >= 0].mean())
    for name, value in tracked.items():
        assert np.isfinite(value), name
    assert [r["key"] for r in records] == [h.KEYS[p] for p in plan.prompt_P]
    assert [r["bin"] for r in records] == plan.bin_P.tolist()
    assert sum(r["tokens"] for r in records) == scored.outcome.tokens_R.sum()
    assert sum(r["n"] for r in records) == scored.outcome.valid_R.sum()
    json.dumps(step, allow_nan=False)


def test_prompts_are_named_once_when_they_are_first_visited(tmp_path):
    asked = []

    def describe(key):
        asked.append(key)
        return f"text of {key}", "gsm8k" if key == "a" else None

    log = RunLog(tmp_path)
    log.name_prompts(describe)
    log.append({"ticket": 0}, [{"ticket": 0, "key": "a"}, {"ticket": 0, "key": "b"}])
    log.append({"ticket": 1}, [{"ticket": 1, "key": "b"}, {"ticket": 1, "key": "c"}])
    log.release()
    again = RunLog(tmp_path)
    again.name_prompts(describe)
    again.rewind(lambda ticket: ticket == 0)
    again.append({"ticket": 1}, [{"ticket": 1, "key": "c"}, {"ticket": 1, "key": "d"}])
    assert asked == ["a", "b", "c", "d"]
    assert list(read_jsonl(tmp_path / PROMPTS)) == [
        {"key": "a", "text": "text of a", "source": "gsm8k"},
        *({"key": key, "text": f"text of {key}"} for key in "bcd"),
    ]
