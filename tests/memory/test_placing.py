"""Places for recalled rollouts, against a slow search and by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdro.memory.placing import place
from gdro.types import Outcome, Recall, Weights

PROMPTS, ROWS = 5, 4


@st.composite
def steps(draw):
    """Five groups of four rows, some without gradient, some dropped; recalls of ten prompts."""
    num = PROMPTS * ROWS
    flags = st.lists(st.booleans(), min_size=PROMPTS, max_size=PROMPTS)
    dead = np.repeat(draw(flags), ROWS)
    kept = np.repeat(draw(flags), ROWS) | draw(st.booleans())
    tokens = np.array(draw(st.lists(st.integers(1, 9), min_size=num, max_size=num)))
    replays = draw(st.permutations(range(PROMPTS)))[: draw(st.integers(0, PROMPTS))]
    anchors = draw(st.permutations(range(10)))[: draw(st.integers(0, 10))]
    recalls = [Recall(p, "replay") for p in replays] + [Recall(p, "anchor", 0.5) for p in anchors]
    weights = Weights(
        np.ones(num),
        kept,
        recall=tuple(recalls),
        most_anchors=draw(st.integers(0, 6)),
        anchor_pick=draw(st.sampled_from(["random", "least"])),
    )
    prompt_R = np.repeat(np.arange(PROMPTS), ROWS)
    outcome = Outcome(0, prompt_R, np.zeros(num), np.zeros(num, bool), tokens_R=tokens)
    stored = draw(st.sets(st.integers(0, 9)))
    advantage = np.where(dead | ~kept, 0.0, 1.0)
    chosen = np.sort(draw(st.permutations(range(num)))[: draw(st.integers(1, num))])
    return weights, outcome, advantage, chosen, stored


def placed_of(step):
    """What `place` makes of a drawn step, with one stored rollout a prompt."""
    *given, stored = step
    return place(*given, dict.fromkeys(stored, (1,)), lambda prompts: np.argsort(-prompts))


@given(steps())
def test_places_hold_what_they_promise(step):
    weights, outcome, advantage, chosen, stored = step
    placed = placed_of(step)
    if placed is None:
        return
    rows, replays = placed.row_M, placed.replays
    replayed = [r.prompt for r in replays]
    assert len(set(rows.tolist())) == len(rows) == len(placed.recalls)
    assert set(rows.tolist()) <= set(chosen.tolist())
    assert not advantage[rows].any()
    assert not set(outcome.prompt_R[rows].tolist()) & set(replayed)
    assert placed.recalls[: len(replays)] == replays
    assert all(r.prompt in stored for r in placed.recalls)
    assert len(placed.recalls) - len(replays) <= weights.most_anchors
    for prompt in replayed:
        assert any(weights.keep_R[r] and outcome.prompt_R[r] == prompt for r in chosen)
    free = [r for r in chosen if advantage[r] == 0 and outcome.prompt_R[r] not in replayed]
    assert sorted(outcome.tokens_R[rows]) == sorted(outcome.tokens_R[free])[: len(rows)]


@given(steps())
def test_nothing_is_left_out_that_had_a_place(step):
    weights, outcome, advantage, chosen, stored = step
    placed = placed_of(step)
    replayed = [] if placed is None else [r.prompt for r in placed.replays]
    num = 0 if placed is None else len(placed.recalls)
    free = [r for r in chosen if advantage[r] == 0 and outcome.prompt_R[r] not in replayed]
    anchors = [r.prompt for r in weights.recall if r.kind == "anchor" and r.prompt in stored]
    joined = num - len(replayed)
    assert joined == min(len(anchors), weights.most_anchors, len(free) - len(replayed))
    if 0 < joined < len(anchors):
        assert placed is not None
        order = anchors if weights.anchor_pick == "random" else sorted(anchors)[::-1]
        assert [r.prompt for r in placed.recalls[-joined:]] == order[:joined]


def test_by_hand():
    """Groups: 0 all wrong, 1 mixed, 2 all right. The success of 0 takes the shortest row of 2."""
    prompt_R = np.repeat([0, 1, 2], 2)
    outcome = Outcome(
        0,
        prompt_R,
        np.array([0, 0, 0, 1, 1, 1.0]),
        np.array([0, 0, 0, 1, 1, 1], bool),
        tokens_R=np.array([1, 1, 5, 5, 7, 6]),
    )
    advantage = np.array([0, 0, -0.7, 0.7, 0, 0])
    recall = (Recall(0, "replay"), Recall(9, "anchor", 0.5), Recall(8, "anchor", 0.5))
    weights = Weights(np.ones(6), np.ones(6, bool), recall=recall, most_anchors=2, anchor_pick="least")
    placed = place(
        weights, outcome, advantage, np.arange(6), dict.fromkeys((0, 8, 9), (1,)), lambda p: [1, 0]
    )
    assert placed is not None
    assert [(r.kind, r.prompt) for r in placed.recalls] == [("replay", 0), ("anchor", 8)]
    assert placed.row_M.tolist() == [5, 4]


def test_random_anchors_need_no_likelihood():
    outcome = Outcome(0, np.zeros(4, int), np.ones(4), np.ones(4, bool))
    recall = tuple(Recall(p, "anchor", 0.5) for p in (9, 7, 8))
    weights = Weights(np.ones(4), np.ones(4, bool), recall=recall, most_anchors=2)

    def never(prompts):
        raise AssertionError("a forward pass")

    placed = place(weights, outcome, np.zeros(4), np.arange(4), dict.fromkeys((7, 8, 9), (1,)), never)
    assert placed is not None
    assert placed.prompt_M.tolist() == [9, 7]


def test_replay_needs_a_place_outside_its_own_group():
    prompt_R = np.repeat([0, 1], 2)
    reward = np.array([0, 0, 0, 1.0])
    outcome = Outcome(0, prompt_R, reward, reward > 0, tokens_R=np.ones(4, int))
    weights = Weights(np.ones(4), np.ones(4, bool), recall=(Recall(0, "replay"),))
    assert place(weights, outcome, np.array([0, 0, -0.7, 0.7]), np.arange(4), {0: (1,)}, list) is None


def test_a_group_joins_whole_or_not_at_all():
    """Five rows are free: the group of three joins, that of four does not, the next of two does."""
    outcome = Outcome(0, np.zeros(5, int), np.ones(5), np.ones(5, bool), tokens_R=np.arange(1, 6))
    recall = tuple(Recall(p, "group") for p in (9, 3, 7, 8))
    weights = Weights(np.ones(5), np.ones(5, bool), recall=recall, remember="group")
    stored = {9: (0, 1, 2), 7: (0, 1, 2, 3), 8: (0, 1)}
    placed = place(weights, outcome, np.zeros(5), np.arange(5), stored, list)
    assert placed is not None
    joined = [(r.prompt, r.slot) for r in placed.recalls]
    assert joined == [(9, 0), (9, 1), (9, 2), (8, 0), (8, 1)]
    assert placed.row_M.tolist() == [0, 1, 2, 3, 4]


def test_a_row_joins_only_where_its_slot_is_stored():
    outcome = Outcome(0, np.zeros(4, int), np.ones(4), np.ones(4, bool))
    recall = tuple(Recall(p, "anchor", slot=slot) for p, slot in ((9, 1), (9, 2), (7, 0)))
    weights = Weights(np.ones(4), np.ones(4, bool), recall=recall, most_anchors=4)
    placed = place(weights, outcome, np.zeros(4), np.arange(4), {9: (0, 1)}, list)
    assert placed is not None
    assert [(r.prompt, r.slot) for r in placed.recalls] == [(9, 1)]
