"""verl's own agent loop with a tool, two turns an answer, under Rollout-GDRO with a memory.

verl's main_ppo on real Ray, two ranks, FSDP2 on gloo. Answers of two or more digits call a calculator,
which adds a point and a digit; then the model goes on. Answers of one digit have one turn.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from runs import Ran, go, lines, rows_of

# A run of its own takes most of a minute: `make chaos-verl` makes it.
pytestmark = pytest.mark.weekly

TOOLS = (
    "trainer.v1.trainer_mode=probe_gdro",
    "+gdro.poll_interval=0.05",
    "+gdro.strategy='rollout-gdro + memory(anchors=5, anchor_advantage=0.5)'",
    "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
    "actor_rollout_ref.rollout.multi_turn.enable=true",
    "actor_rollout_ref.rollout.multi_turn.format=probe_calls",
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=2",
    f"actor_rollout_ref.rollout.multi_turn.tool_config_path={Path(__file__).parent / 'tools.yaml'}",
    "data.max_response_length=16",
    "actor_rollout_ref.rollout.response_length=16",
)
ROWS, STEPS = 64, 5
POINT, ZERO = 2, 3  # tokens of the point and of the first digit
SAME = ("prompts", "responses", "input_ids", "position_ids", "response_mask", "reward", "turns")


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    return go(tmp_path_factory.mktemp("tools"), *TOOLS, steps=STEPS).finish()


def test_every_answer_is_the_model_s_but_for_what_the_tool_said(ran: Ran) -> None:
    """The tool was called where the first turn has two digits; its tokens alone are masked."""
    turns = set()
    for row in (row for step in ran.steps for row in rows_of(step)):
        tokens, mask = row["responses"], row["response_mask"]
        first = mask.index(0) if 0 in mask else len(mask)
        digits = [token - ZERO for token in tokens[:first] if ZERO <= token < ZERO + 10]
        turns.add(row["turns"])
        if row["turns"] == 2:
            assert first == len(mask) and len(digits) < 2
            continue
        assert row["turns"] == 4 and len(digits) > 1
        assert mask == [1] * first + [0, 0] + [1] * (len(mask) - first - 2)
        assert tokens[first : first + 2] == [POINT, ZERO + (digits[0] + 1) % 10]
        assert len(tokens) > first + 2, "the model goes on after the tool"
    assert turns == {2, 4}


def test_rollouts_are_those_of_the_plan_and_only_the_model_s_tokens_count(ran: Ran) -> None:
    plans, sizes = ran.plans(), set()
    for step in ran.steps:
        assert step["metrics"]["gdro/missing"] == step["metrics"]["gdro/padding"] == 0
        assert len(step["keys"]) == ROWS and sum(plans[step["step"]].values()) == ROWS
        sizes |= set(plans[step["step"]].values())
    first = ran.step(1)
    assert not first["recalled"]
    assert {i: first["index"].count(i) for i in plans[1]} == plans[1]
    ticket = next(s["ticket"] for s in lines(ran.log / "steps.jsonl") if s["step"] == 1)
    tokens = [g["tokens"] for g in lines(ran.log / "groups.jsonl") if g["ticket"] == ticket]
    assert sum(tokens) == sum(map(sum, first["response_mask"]))
    assert min(sizes) >= 2 and len(sizes) > 1, "groups must have become unequal"


def test_advantages_are_on_the_model_s_tokens_alone(ran: Ran) -> None:
    """(r - mean) / (sd + 1e-6) of each group without a recalled row, and zero where a tool wrote."""
    moved = 0
    for step in ran.steps:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows_of(step):
            groups.setdefault(row["uid"], []).append(row)
            masked = [a for a, m in zip(row["advantages"], row["response_mask"], strict=True) if not m]
            assert not any(masked)
        for group in groups.values():
            rewards = [row["reward"] for row in group]
            if len(set(rewards)) == 1 or any(row["recalled"] for row in group):
                continue
            mean, sd = statistics.fmean(rewards), statistics.stdev(rewards)
            for row in group:
                wanted = (row["reward"] - mean) / (sd + 1e-6)
                assert row["advantages"] == pytest.approx(
                    [wanted * m for m in row["response_mask"]], abs=1e-4
                )
                moved += 0 in row["response_mask"]
    assert moved > 5


def test_a_recalled_row_has_the_turns_and_the_mask_of_its_stored_success(ran: Ran) -> None:
    """Most are in the log; a success whose row was replaced is not."""
    masked, replaced = 0, 0
    for step in ran.steps:
        earlier = [row for s in ran.steps if s["step"] < step["step"] for row in rows_of(s)]
        for row in (row for row in rows_of(step) if row["recalled"]):
            assert row["reward"] == 1
            same = [r for r in earlier if not r["recalled"] and r["responses"] == row["responses"]]
            same = [{name: r[name] for name in SAME} for r in same if r["index"] == row["index"]]
            assert not same or {name: row[name] for name in SAME} in same
            replaced += not same
            masked += bool(same) and 0 in row["response_mask"]
    assert masked > max(3, replaced)
