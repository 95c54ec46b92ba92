"""A memory inside verl's own main_ppo on real Ray: every recalled row, number by number.

Two ranks, FSDP2 on gloo. Answers have a token of a tool, which a mask leaves out of the loss. The first
run has rollout correction; it is killed, and goes on in bypass mode.
"""

from __future__ import annotations

import shutil
import statistics
from typing import Any

import pytest
import torch
from runs import Ran, go, lines, rows_of
from transformers import AutoModelForCausalLM

from gdro.integrations.verl.checkpoints import STATE_FILE
from gdro.memory.store import STORE_FILE

MEMORY = (
    "trainer.v1.trainer_mode=probe_gdro",
    "+gdro.poll_interval=0.05",
    "+gdro.strategy='uniform + memory(anchor_pick=least, anchors=5, anchor_advantage=0.5)'",
    "actor_rollout_ref.rollout.agent.default_agent_loop=probe_turns",
    "actor_rollout_ref.actor.checkpoint.save_contents=[model,optimizer,extra,hf_model]",
    "trainer.save_freq=1",
)
ROWS, STEPS = 64, 5


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    """Killed with SIGKILL when its fifth step has been saved."""
    correction = "algorithm.rollout_correction.rollout_is=token"
    folder = tmp_path_factory.mktemp("memory")
    return go(folder, *MEMORY, correction, steps=STEPS + 3, kill_after=STEPS).finish()


@pytest.fixture(scope="module")
def resumed(ran: Ran, tmp_path_factory) -> Ran:
    """Goes on from the fourth step, as if the fifth had not been saved."""
    folder = tmp_path_factory.mktemp("resumed")
    shutil.copytree(ran.folder / "checkpoints", folder / "checkpoints")
    for late in (folder / "checkpoints").glob(f"global_step_[{STEPS}-9]"):
        shutil.rmtree(late)
    (folder / "checkpoints/latest_checkpointed_iteration.txt").write_text(str(STEPS - 1))
    bypass = "algorithm.rollout_correction.bypass_mode=true"
    return go(folder, *MEMORY, bypass, "trainer.resume_mode=auto", steps=STEPS).finish()


def recalled(run: Ran) -> list[tuple[int, dict[str, Any]]]:
    """Step and row of every recalled rollout."""
    return [(s["step"], row) for s in run.steps for row in rows_of(s) if row["recalled"]]


def logps(run: Ran, step: int, row: dict[str, Any]) -> torch.Tensor:
    """Log-probabilities of an answer under the weights before a step, by transformers alone."""
    folder = run.folder / f"checkpoints/global_step_{step - 1}/actor/huggingface"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([row["prompts"] + row["responses"]])
    with torch.no_grad():
        every = model(ids).logits[0].log_softmax(-1)
    num = len(row["responses"])
    return every[-num - 1 : -1].gather(1, ids[0, -num:, None])[:, 0]


def test_the_number_of_rows_stays_and_both_kinds_join(ran: Ran) -> None:
    kinds = {row["anchor"] for _, row in recalled(ran)}
    assert kinds == {True, False}, "replays and anchors must have joined"
    for step in ran.steps:
        assert len(set(step["keys"])) == ROWS and not any(step["padding"])
        assert step["metrics"]["gdro/missing"] == step["metrics"]["gdro/padding"] == 0
        joined = [row for row in rows_of(step) if row["recalled"]]
        assert step["metrics"]["gdro/memory_row_share"] == len(joined) / ROWS
        anchors = sum(row["anchor"] for row in joined)
        assert step["metrics"]["gdro/memory_anchors"] == anchors
        assert step["metrics"]["gdro/memory_replays"] == len(joined) - anchors
    assert not ran.step(1)["recalled"], "there was nothing to recall"


def test_recalled_rows_are_successes_of_earlier_steps(ran: Ran) -> None:
    """Prompt, answer, mask, places and reward are those of a fresh success of the same prompt."""
    masked = 0
    for number, row in recalled(ran):
        early = [
            other
            for step in ran.steps
            if step["step"] < number
            for other in rows_of(step)
            if other["index"] == row["index"] and other["reward"] == 1 and not other["recalled"]
        ]
        same = [other for other in early if other["responses"] == row["responses"]]
        assert same, "rows that were replaced are not in the log, but most are"
        names = ("prompts", "input_ids", "position_ids", "response_mask", "reward", "turns")
        given = {name: row[name] for name in names}
        expected = {name: same[0][name] for name in names}
        assert given | {"turns": 0} == expected | {"turns": 0}
        masked += 0 in row["response_mask"]
        assert row["turns"] == (4 if 0 in row["response_mask"] else 2)
    assert masked > 3


def test_advantages_of_every_row_are_the_definition_s(ran: Ran) -> None:
    """Groups with their replay, times a quarter; anchors have theirs; masked tokens have none."""
    replays = 0
    for step in ran.steps:
        rows = rows_of(step)
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row["uid"], []).append(row)
        for group in groups.values():
            rewards = [row["reward"] for row in group]
            weight = 0.25 if any(row["recalled"] for row in group) else 1.0
            replays += weight < 1 and not group[0]["anchor"]
            for row in group:
                if row["anchor"]:
                    assert len(group) == 1
                    wanted = 0.5
                elif len(set(rewards)) == 1:
                    wanted = 0.0
                else:
                    assert len({other["index"] for other in group}) == 1
                    sd = statistics.stdev(rewards) + 1e-6
                    wanted = weight * (row["reward"] - statistics.fmean(rewards)) / sd
                masked = [wanted * m for m in row["response_mask"]]
                assert row["advantages"] == pytest.approx(masked, abs=1e-4)
    assert replays > 1


def test_recalled_rows_are_scored_on_policy(ran: Ran) -> None:
    """Against transformers with the weights before the step; importance weights are one."""
    found = [(number, row) for number, row in recalled(ran)]
    for number, row in found:
        assert row["tags"]["max_global_steps"] < number - 1, "the weights of an earlier step"
    for number, row in found[:: max(1, len(found) // 20)]:
        wanted = logps(ran, number, row)
        assert row["old_log_probs"] == pytest.approx(wanted.tolist(), abs=1e-4)
    for _, row in found:
        assert row["rollout_log_probs"] == row["old_log_probs"]
        weights = [w for w, m in zip(row["rollout_is_weights"], row["response_mask"], strict=True) if m]
        assert weights == [1.0] * len(weights)


def test_beliefs_learn_from_fresh_rollouts_alone(ran: Ran) -> None:
    """Each planned rollout is judged once, also those whose rows were replaced."""
    last = ran.step(STEPS)
    assert last["metrics"]["gdro/total_rollouts"] == STEPS * ROWS
    tokens = sum(sum(row["response_mask"]) for s, row in recalled(ran) if s <= STEPS)
    assert last["metrics"]["gdro/total_recalled_tokens"] == tokens > 0
    rolled: dict[int, int] = {}
    for group in lines(ran.log / "groups.jsonl"):
        rolled[group["ticket"]] = rolled.get(group["ticket"], 0) + group["n"]
    assert set(rolled.values()) == {ROWS}


def test_a_killed_run_recalls_the_same_rollouts(ran: Ran, resumed: Ran) -> None:
    def joined(run: Ran) -> list[tuple[Any, ...]]:
        rows = [row for row in rows_of(run.step(STEPS)) if row["recalled"]]
        return sorted((row["index"], row["anchor"], row["responses"]) for row in rows)

    assert joined(resumed) == joined(ran) != []
    for name in (STATE_FILE, STORE_FILE):
        files = [r.folder / f"checkpoints/global_step_{STEPS}" / name for r in (ran, resumed)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_bypass_mode_takes_the_policy_s_log_probabilities_for_recalled_rows(resumed: Ran) -> None:
    rows = [row for number, row in recalled(resumed) if number == STEPS]
    assert rows
    for row in rows:
        wanted = logps(resumed, STEPS, row)
        assert row["old_log_probs"] == row["rollout_log_probs"]
        assert row["old_log_probs"] == pytest.approx(wanted.tolist(), abs=1e-4)
