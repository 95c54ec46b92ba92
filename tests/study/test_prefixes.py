"""Prefix continuation in the study's engine: what is forced, what learns, and what does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_engine import one_thread, trained, watching  # noqa: F401  # a fixture
from tiny_study import CONFIG, config

from gdro import Outcome, Plan
from gdro.errors import StudyError
from gdro.study.config import load_study
from gdro.study.decoder import Decoder, Shape
from gdro.study.learner import Learner
from gdro.study.prefixes import FREE, Prefixes
from gdro.study.recalls import StoredRow
from gdro.study.training import Training

WIDTH, ANSWER = 3, 6
TOKENS = torch.tensor([0, 5, 6, 7, 8, 9, 4, 1, 0])  # a prompt of three, an answer of five with its end
ROW = StoredRow(TOKENS, torch.zeros(ANSWER), torch.tensor([1.0] * 5 + [0.0]), 1.0, False)


def belief(*rates):
    return SimpleNamespace(pass_rate=lambda prompt_P: np.array(rates)[prompt_P])


def planned(*rollouts):
    return Plan(0, np.arange(len(rollouts)), np.array(rollouts), np.zeros(len(rollouts), int))


def test_half_of_the_rollouts_of_hard_problems_with_a_success_continue():
    """0 is hard and stored, 1 hard and never solved, 2 easy, 3 has too few rollouts for two groups."""
    forced = Prefixes(0.3).forced(
        planned(5, 4, 4, 3), belief(0.1, 0.1, 0.5, 0.1), {0: (ROW,), 2: (ROW,), 3: (ROW,)}, WIDTH
    )
    assert forced.shape == (16, ANSWER)
    rows = [3, 4]  # the last two of five; half of five tokens is two
    assert forced[rows].tolist() == [[7, 8, FREE, FREE, FREE, FREE]] * 2
    rest = [row for row in range(16) if row not in rows]
    assert bool((forced[rest] == FREE).all())


def test_without_successes_nothing_is_forced():
    assert not bool((Prefixes(1.0).forced(planned(4), belief(0.1), {}, WIDTH) != FREE).any())


def test_lengths_are_steered_to_a_pass_rate_of_one_half():
    """All right: half of -1/2, from .5 to .25; all wrong: .75; then the same again, up to .9."""
    prefixes = Prefixes(1.0)

    def length(problem):
        prompts = np.array([problem])
        plan = Plan(0, prompts, np.array([4]), np.zeros(1, int))
        forced = prefixes.forced(plan, belief(*[0.1] * 4), {problem: (ROW,)}, WIDTH)
        return int((forced[3] != FREE).sum())

    def visit(right):
        prompt_R = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        right_R = np.array([False, False, right, right, False, False, not right, not right])
        prefixes.learn(Outcome(0, prompt_R, right_R * 1.0, right_R), np.array([0, 0, 1, 1] * 2, bool))

    assert [length(p) for p in range(3)] == [2, 2, 2]
    visit(True)
    assert prefixes._share == {0: 0.25, 1: 0.75, 2: 0.5}
    assert [length(p) for p in range(2)] == [1, 4]
    visit(True)
    assert prefixes._share == {0: 0.1, 1: 0.9, 2: 0.5}
    assert [length(p) for p in range(2)] == [1, 4], "at least one token is left to the model"
    assert (prefixes.rows, prefixes.right) == (8, 4)
    for _ in range(40):
        prefixes.learn(Outcome(0, np.zeros(2, int), np.ones(2), np.ones(2, bool)), np.ones(2, bool))
    assert prefixes._share[0] == 0.1 and length(0) == 1
    assert length(3) == 1, "problems that were not continued yet start shorter, too"


def test_forced_tokens_stand_and_are_not_trained_on():
    torch.manual_seed(0)
    model = Decoder(Shape(vocabulary=10, prompt=WIDTH, answer=ANSWER, width=16, layers=1, heads=1))
    prompt, counts = torch.tensor([[0, 5, 6]]), torch.tensor([4])
    forced = torch.full((4, ANSWER), FREE)
    forced[2:, :2] = torch.tensor([7, 8])
    given = model.generate(prompt, counts, torch.Generator().manual_seed(1), forced)
    plain = model.generate(prompt, counts, torch.Generator().manual_seed(1))
    for name in ("tokens_RT", "logp_RG", "mask_RG"):
        assert torch.equal(getattr(given, name)[:2], getattr(plain, name)[:2])
    assert given.tokens_RT[2:, WIDTH : WIDTH + 2].tolist() == [[7, 8]] * 2
    assert given.mask_RG[2:, :2].sum() == 0 and bool((given.mask_RG[2:, 2] == 1).all())
    mask = given.mask_RG.clone()
    again = model.logp(given.tokens_RT.clone()).detach() * mask
    assert torch.allclose(given.logp_RG * mask, again, atol=1e-5)


def test_in_a_run_beliefs_and_the_memory_learn_from_what_started_anew() -> None:
    """With every problem below the rate, half of the rows of those with a success continue."""
    controller, kept = watching(lambda outcome, weights: (outcome, weights))
    record = trained("memory", num_steps=16, controller=controller, prefix_below=1.0)
    rows = [np.count_nonzero(~outcome.judged_mask_R) for outcome, _ in kept]
    assert record["prefixed"] == sum(rows) > 60 and rows[:8] == [0] * 8, "an epoch is eight steps"
    right = [outcome.correct_R[~outcome.judged_mask_R].sum() for outcome, _ in kept]
    assert 0 < record["prefixed_right"] == sum(right) < record["prefixed"]
    for outcome, weights in kept:
        assert not (weights.remember_R & ~outcome.judged_mask_R).any()
        continued = outcome.prompt_R[~outcome.judged_mask_R]
        for problem in np.unique(continued):
            assert np.count_nonzero(outcome.prompt_R == problem) == 4
            assert np.count_nonzero(continued == problem) == 2
    plain = trained("memory", num_steps=16)
    assert record["rollouts"] == plain["rollouts"] and record["tokens"] < plain["tokens"]
    assert "prefixed" not in plain


def test_continuations_are_a_group_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advantages of the four rows of a problem: each half is centred by itself."""
    controller, kept = watching(lambda outcome, weights: outcome)
    update, seen = Learner.update, []

    def keep(self, rollouts, prompt_R, advantage_R, base_R, *rest):
        seen.append(base_R)
        return update(self, rollouts, prompt_R, advantage_R, base_R, *rest)

    monkeypatch.setattr(Learner, "update", keep)
    trained("memory(anchors=0)", num_steps=12, controller=controller, prefix_below=1.0)
    halves = 0
    for outcome, base_R in zip(kept, seen, strict=True):
        for problem in np.unique(outcome.prompt_R[~outcome.judged_mask_R]):
            for judged in (True, False):
                rows = (outcome.prompt_R == problem) & (outcome.judged_mask_R == judged)
                reward = outcome.reward_R[rows]
                centred = (reward - reward.mean()) / (reward.std(ddof=1) + 1e-4)
                assert base_R[rows] == pytest.approx(centred)
                halves += reward.std() > 0
    assert halves > 5


def test_identity_of_runs_without_prefixes_is_as_before() -> None:
    assert "prefix_below" not in Training().identity()
    assert Training(prefix_below=0.3).identity() == Training().identity() | {"prefix_below": 0.3}


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(StudyError, match=r"prefix_below.*allowed: 0 to 1"):
        Training(prefix_below=value)


@pytest.mark.parametrize("strategy", ["uniform", "popo"])
def test_an_arm_without_stored_successes_is_refused(tmp_path, strategy: str) -> None:
    arm = f"  grpo: {{strategy: {strategy}, training: {{prefix_below: 0.3}}}}"
    path = config(tmp_path, CONFIG.replace("  grpo: {strategy: uniform}", arm))
    with pytest.raises(StudyError, match=r"arms.grpo.*stores no successes.*\+ memory"):
        load_study(path)
