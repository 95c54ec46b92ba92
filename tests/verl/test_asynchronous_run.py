"""verl's colocated asynchronous mode in its own main_ppo on real Ray: two ranks, FSDP2 on gloo.

Rollouts of a step go on while the step before trains, so that batches mix groups of two allocations.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ran, assert_trained_alike, go, lines, rows_of

from gdro import Controller, Problem, Request, make_strategy
from gdro.integrations.verl.checkpoints import STATE_FILE

GDRO = ("trainer.v1.trainer_mode=probe_gdro_async", "+gdro.poll_interval=0.05")
WHOLE = "actor_rollout_ref.actor.checkpoint.save_contents=[model,optimizer,extra,hf_model]"
# Selects, allocates and remembers; half a batch is in flight, so that every plan has parts of two.
STRATEGY = "failure-sampling + rollout-gdro + memory(anchors=3)"
ALL = (
    *GDRO,
    f"+gdro.strategy='{STRATEGY}'",
    "trainer.v1.colocate_async.num_warmup_batches=0.5",
    "trainer.save_freq=1",
)
PROMPTS, STEPS = 16, 4


@pytest.fixture(scope="module")
def constant(tmp_path_factory) -> tuple[Ran, Ran]:
    """verl's own asynchronous trainer, and gdro's with a constant controller; both at once."""
    modes = {
        "stock": ("trainer.v1.trainer_mode=probe_stock_async",),
        "uniform": (*GDRO, "+gdro.strategy=uniform"),
    }
    save = ("trainer.save_freq=3", WHOLE)
    going = [
        go(tmp_path_factory.mktemp(name), *mode, *save, steps=3).begun() for name, mode in modes.items()
    ]
    stock, uniform = [run.finish() for run in going]
    return stock, uniform


@pytest.fixture(scope="module")
def failing() -> int:
    """A prompt of the first allocation, of which every agent loop will fail."""
    controller = Controller(make_strategy(STRATEGY), Problem([str(i) for i in range(32)]))
    return int(controller.allocate(Request(8, 32)).prompt_P[0])


@pytest.fixture(scope="module")
def ran(failing: int, tmp_path_factory) -> Ran:
    return go(tmp_path_factory.mktemp("ran"), *ALL, steps=STEPS, fail=f"{failing},999").finish()


@pytest.fixture(scope="module")
def killed(failing: int, tmp_path_factory) -> Ran:
    """Killed with SIGKILL when its fourth step has been saved."""
    folder, fail = tmp_path_factory.mktemp("killed"), f"{failing},999"
    return go(folder, *ALL, steps=STEPS + 4, kill_after=STEPS, fail=fail).finish()


@pytest.fixture(scope="module")
def resumed(killed: Ran, failing: int, tmp_path_factory) -> Ran:
    """Goes on from the third step, as if the fourth had not been saved."""
    folder = tmp_path_factory.mktemp("resumed")
    shutil.copytree(killed.folder / "checkpoints", folder / "checkpoints")
    for late in (folder / "checkpoints").glob(f"global_step_[{STEPS}-9]"):
        shutil.rmtree(late)
    (folder / "checkpoints/latest_checkpointed_iteration.txt").write_text(str(STEPS - 1))
    again = go(folder, *ALL, "trainer.resume_mode=auto", steps=STEPS + 1, fail=f"{failing},999")
    return again.finish()


@pytest.mark.weekly
def test_a_constant_controller_changes_nothing(constant: tuple[Ran, Ran]) -> None:
    """Answers of the second step on are of older weights than those that train on them."""
    stock, uniform = constant
    assert_trained_alike(uniform, stock, steps=3)
    stale = [tag["max_global_steps"] for tag in uniform.step(3)["tags"]]
    assert set(stale) == {1} and not any(uniform.step(3)["padding"])


def real(step: dict[str, Any]) -> list[int]:
    """Places of rows that are no padding."""
    return [row for row, padding in enumerate(step["padding"]) if not padding]


@pytest.mark.parametrize("which", ["ran", pytest.param("resumed", marks=pytest.mark.weekly)])
def test_rows_are_what_was_planned_without_much_padding(which: str, request) -> None:
    run: Ran = request.getfixturevalue(which)
    totals = set()
    for step in run.steps:
        plan, rows = run.plans()[step["step"]], real(step)
        fresh = [row for row in rows if step["keys"][row] not in step["recalled"]]
        assert len(rows) == sum(plan.values()) == len(fresh) + len(step["recalled"])
        received = {i: sum(step["index"][row] == i for row in fresh) for i in plan}
        assert all(received[i] <= plan[i] for i in plan)
        assert sum(received.values()) == len(fresh), "of no other prompt"
        if not step["recalled"]:
            assert received == plan
        assert len({step["uid"][row] for row in fresh}) <= PROMPTS
        assert len(step["keys"]) - len(rows) < 4, "two ranks, two micro-batches at most"
        assert step["metrics"]["gdro/padding"] == len(step["keys"]) - len(rows)
        assert step["metrics"]["gdro/missing"] == 0
        totals.add(len(rows))
    if which == "ran":
        assert len(totals) > 1, "parts of two plans need not have 64 rows"


def test_groups_are_compared_as_they_were_submitted(ran: Ran) -> None:
    """Also the two of a prompt that was drawn again; replays join theirs, anchors stand alone."""
    moving = 0
    for step in ran.steps:
        groups: dict[str, list[int]] = {}
        for row in real(step):
            groups.setdefault(step["uid"][row], []).append(row)
        for rows in groups.values():
            rewards = [step["reward"][row] for row in rows]
            mean, sd = statistics.fmean(rewards), statistics.pstdev(rewards)
            sd *= (len(rows) / max(1, len(rows) - 1)) ** 0.5
            weight = 0.25 if any(step["keys"][row] in step["recalled"] for row in rows) else 1.0
            for row in rows:
                wanted = weight * (step["reward"][row] - mean) / (sd + 1e-6)
                wanted = step["anchors"].get(step["keys"][row], wanted)
                masked = [wanted * m for m in step["response_mask"][row]]
                assert step["advantages"][row] == pytest.approx(masked, abs=1e-4)
            moving += sd > 0
    assert moving > 3
    assert any(step["recalled"] for step in ran.steps), "remembered rollouts must have joined"


def test_recalled_rows_are_scored_on_policy(ran: Ran) -> None:
    recalled = [(s, row) for s in ran.steps for row in rows_of(s) if row["recalled"]]
    known = 0
    for step, row in recalled:
        assert row["rollout_log_probs"] == row["old_log_probs"] and row["reward"] == 1.0
        early = [
            (other["prompts"], other["responses"], other["response_mask"])
            for s in ran.steps
            if s["step"] < step["step"]
            for other in rows_of(s)
            if other["index"] == row["index"] and other["reward"] == 1 and not other["recalled"]
        ]
        known += (row["prompts"], row["responses"], row["response_mask"]) in early
    assert known > len(recalled) / 2, "of rows that were replaced nothing is logged, but most are there"


@pytest.mark.weekly
def test_a_killed_run_goes_on_with_what_was_in_flight(killed: Ran, resumed: Ran) -> None:
    assert [s["step"] for s in resumed.steps] == [STEPS, STEPS + 1]
    wanted, found = killed.plans(), resumed.plans()
    assert sorted(found) == list(range(1, STEPS + 2))
    assert all(found[number] == wanted[number] for number in range(1, STEPS))
    assert "Re-issued 2 in-flight prompts" in resumed.text
    half = len(set(wanted[STEPS]) & set(found[STEPS]))
    assert half >= PROMPTS // 2, "half of the groups were allocated before the kill"


def books(folder: Path) -> tuple[dict[str, int], int]:
    """The ledger of a checkpoint, and the rollouts of its groups that are in no plan."""
    with np.load(folder / STATE_FILE) as file:
        return json.loads(str(file["header"]))["ledger"], int(file["allocated/rollouts_G"].sum())


@pytest.mark.parametrize("which", ["ran", pytest.param("resumed", marks=pytest.mark.weekly)])
def test_the_books_balance_after_evictions(which: str, failing: int, request) -> None:
    """Groups with a failed agent loop are thrown away and replaced; they move no belief."""
    run: Ran = request.getfixturevalue(which)
    last = STEPS + (which == "resumed")
    assert all(failing not in plan for plan in run.plans().values())
    ledger, waiting = books(run.folder / f"checkpoints/global_step_{last}")
    spent = ledger["rollouts"] + ledger["missing"] + ledger["evicted"]
    assert ledger["planned"] == spent + waiting
    assert ledger["plans"] == ledger["closed"] == last and ledger["evicted"] > 0
    logged = lines(run.log / "steps.jsonl")[last - 1]["ledger"]
    assert logged == ledger
    assert run.step(last)["metrics"]["gdro/total_evicted"] == ledger["evicted"]
