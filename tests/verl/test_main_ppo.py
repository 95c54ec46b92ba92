"""The adapter inside verl's own main_ppo on real Ray: two ranks, FSDP2 on gloo, a trained tiny Qwen3.

Selection, allocation and advantages run in every `make test` in test_memory_run.py and
test_asynchronous_run.py; here they are weekly.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest
from runs import Ran, assert_trained_alike, by_prompt, go, lines

GDRO = ("trainer.v1.trainer_mode=probe_gdro", "+gdro.poll_interval=0.05")
# Selects, allocates and weighs: prompts come from the controller, also after a resume.
JOINT = (*GDRO, "+gdro.strategy='failure-sampling + rollout-gdro + prompt-gdro'", "trainer.save_freq=2")
WHOLE = "actor_rollout_ref.actor.checkpoint.save_contents=[model,optimizer,extra,hf_model]"
ROWS = 64


@pytest.fixture(scope="module")
def constant(tmp_path_factory) -> tuple[Ran, Ran]:
    """verl's own trainer, and gdro's with a constant controller; both at once."""
    save = ("trainer.save_freq=3", WHOLE)
    modes = {
        "stock": ("trainer.v1.trainer_mode=probe_stock",),
        # A memory that stores successes and recalls none.
        "uniform": (*GDRO, "+gdro.strategy='uniform + memory(replay=false, anchors=0)'"),
    }
    going = [
        go(tmp_path_factory.mktemp(name), *mode, *save, steps=3).begun() for name, mode in modes.items()
    ]
    stock, uniform = [run.finish() for run in going]
    return stock, uniform


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Ran:
    """Killed with SIGKILL when its sixth step of eight has been saved."""
    return go(tmp_path_factory.mktemp("joint"), *JOINT, steps=8, kill_after=6).finish()


@pytest.fixture(scope="module")
def failing(joint: Ran) -> tuple[int, int]:
    """Two prompts of step 5: of one every agent loop will fail, of the other some."""
    first, second, *_ = sorted(joint.plans()[5])
    return first, second


@pytest.fixture(scope="module")
def resumed(joint: Ran, failing: tuple[int, int], tmp_path_factory) -> Ran:
    """It starts from the fourth step, as if the sixth had not been saved; some agent loops fail."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(joint.folder / "checkpoints", folder / "checkpoints")
    shutil.rmtree(folder / "checkpoints/global_step_6")
    (folder / "checkpoints/latest_checkpointed_iteration.txt").write_text("4")
    fail = "{},{}".format(*failing)
    return go(folder, *JOINT, "trainer.resume_mode=auto", steps=5, fail=fail).finish()


@pytest.fixture(scope="module")
def rounds(tmp_path_factory) -> Ran:
    """A strategy that samples on within a step."""
    return go(tmp_path_factory.mktemp("rounds"), *GDRO, "+gdro.strategy=speed", steps=3).finish()


def test_a_constant_controller_changes_nothing(constant: tuple[Ran, Ran]) -> None:
    stock, uniform = constant
    assert_trained_alike(uniform, stock, steps=3)


@pytest.mark.weekly
def test_every_row_is_a_planned_rollout(joint: Ran) -> None:
    plans = joint.plans()
    sizes = set()
    for number in range(1, 7):
        step = joint.step(number)
        assert len(step["keys"]) == ROWS and not any(step["padding"])
        received = {index: step["index"].count(index) for index in set(step["index"])}
        assert received == plans[number] and sum(received.values()) == ROWS
        assert step["metrics"]["gdro/missing"] == step["metrics"]["gdro/padding"] == 0
        sizes |= set(received.values())
    assert min(sizes) >= 2 and len(sizes) > 1, "groups must have become unequal"


@pytest.mark.weekly
def test_advantages_are_weighted_as_planned(joint: Ran) -> None:
    """Against the definition: (r - mean) / (sd + 1e-6) of the group, times the logged weight."""
    steps = {s["ticket"]: s["step"] for s in lines(joint.log / "steps.jsonl")}
    unequal = 0
    for group in lines(joint.log / "groups.jsonl"):
        rows = by_prompt(joint.step(steps[group["ticket"]]))[int(group["key"])]
        rewards = [reward for _, reward, _ in rows]
        mean, sd = statistics.fmean(rewards), statistics.stdev(rewards)
        for tokens, reward, advantage in rows:
            wanted = group["weight"] * (reward - mean) / (sd + 1e-6)
            assert advantage == pytest.approx([wanted] * len(tokens), abs=1e-4)
        unequal += sd > 0 and abs(group["weight"] - 1.0) > 0.05
    assert unequal > 5, "some weights must have mattered"


@pytest.mark.weekly
def test_rollouts_use_the_weights_of_the_last_update(joint: Ran) -> None:
    """The rollout's log-probabilities are the trainer's at every step, and answers change."""
    assert max(step["gap"] for step in joint.steps) < 1e-3
    seen = by_prompt(joint.step(1)), by_prompt(joint.step(5))
    shared = set(seen[0]) & set(seen[1])
    assert shared, "there are only 32 prompts"
    assert any(seen[0][index] != seen[1][index] for index in shared)


@pytest.mark.weekly
def test_a_killed_run_goes_on_with_the_same_plans(
    joint: Ran, resumed: Ran, failing: tuple[int, int]
) -> None:
    wanted, found = joint.plans(), resumed.plans()
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert all(found[number] == wanted[number] for number in (1, 2, 3, 4))
    healthy = set(wanted[5]) - set(failing)
    assert {i: found[5][i] for i in healthy} == {i: wanted[5][i] for i in healthy}


@pytest.mark.weekly
def test_failed_agent_loops_are_used_or_dropped_and_counted(
    joint: Ran, resumed: Ran, failing: tuple[int, int]
) -> None:
    step, wanted = resumed.step(5), joint.plans()[5]
    real = [not padding for padding in step["padding"]]
    received = {i: sum(r and i == j for r, j in zip(real, step["index"], strict=True)) for i in wanted}
    never, rarely = failing
    assert received[never] == 0
    missing = sum(wanted.values()) - sum(received.values())
    assert missing >= wanted[never]
    assert step["metrics"]["gdro/missing"] == missing == step["metrics"]["gdro/total_missing"]
    assert step["metrics"]["gdro/total_planned"] == 5 * ROWS
    assert step["metrics"]["gdro/total_rollouts"] == 5 * ROWS - missing
    assert step["metrics"]["gdro/dropped_groups"] == 1 + (received[rarely] < 2)
    if received[rarely] == 1:
        (row,) = by_prompt(step)[rarely]
        assert not any(row[2])


@pytest.mark.weekly
def test_checkpoints_and_log_are_whole(resumed: Ran) -> None:
    steps = [s["step"] for s in lines(resumed.log / "steps.jsonl")]
    assert steps == [1, 2, 3, 4, 5]
    saved: list[Path] = sorted((resumed.folder / "checkpoints").glob("global_step_*/gdro.npz"))
    assert [p.parent.name for p in saved] == ["global_step_2", "global_step_4", "global_step_5"]


@pytest.mark.weekly
def test_a_group_of_several_rounds_is_one_group(rounds: Ran) -> None:
    """SPEED screens by 4 rollouts and goes on with 8 more; five whole groups have room in 64 rows."""
    steps, kept, spent = {s["ticket"]: s for s in lines(rounds.log / "steps.jsonl")}, 0, 0
    for group in lines(rounds.log / "groups.jsonl"):
        step = rounds.step(steps[group["ticket"]]["step"])
        rows = by_prompt(step).get(int(group["key"]), [])
        rewards, spent = [reward for _, reward, _ in rows], spent + group["n"]
        if group["n"] == 12:
            assert len(rows) == 12 and statistics.stdev(rewards) > 0
            kept += 1
        for tokens, reward, advantage in rows:
            mean, sd = statistics.fmean(rewards), statistics.stdev(rewards)
            wanted = (reward - mean) / (sd + 1e-6) if group["n"] == 12 else 0.0
            assert advantage == pytest.approx([wanted] * len(tokens), abs=1e-4)
    assert kept >= 3
    last = rounds.step(3)
    assert all(
        len(rounds.step(n)["keys"]) == ROWS and not any(rounds.step(n)["padding"]) for n in (1, 2, 3)
    )
    assert last["metrics"]["gdro/total_rollouts"] == last["metrics"]["gdro/total_planned"] == spent
    assert last["metrics"]["gdro/total_discarded"] == spent - 12 * kept
