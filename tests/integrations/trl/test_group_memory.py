"""Groups and rows that come back in real trainings: their advantages, places and correction."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from test_memory import make, spied, tokens
from trl import GRPOTrainer

from gdro.errors import UnsupportedError
from gdro.integrations.trl import checks
from gdro.memory.correction import clipped, decoupled

REPLAY = "advantage-replay(warmup=1, capacity=200)"


def by_hand(trainer, rollout):
    """Log-probabilities of a stored rollout's answer under the policy of now."""
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
    with torch.no_grad():
        logp = trainer.model(ids).logits.log_softmax(-1)[0]
    start = len(rollout.prompt_ids)
    picked = [float(logp[start - 1 + t, token]) for t, token in enumerate(rollout.completion_ids)]
    return np.array(picked, np.float64)


def watched(strategy, **options):
    """A trainer whose every step is compared with what it should be; the number of recalled rows."""
    trainer, _, seen = spied(strategy, **options)
    batch, known, count = trainer._gdro_batch, {}, {"groups": 0, "rows": 0, "moved": 0}

    def check(step):
        out = batch(step)
        _, fresh, joining, generated = seen[-1]
        outcome, advantage_R = step.outcome, fresh.advantage_R.double().numpy()
        recalls = () if joining is None else joining.placed.recalls
        rollouts = () if joining is None else joining.rollouts
        for m, (recall, rollout) in enumerate(zip(recalls, rollouts, strict=True)):
            row, (given, was, then) = joining.placed.row_M[m], known[recall.prompt][recall.slot]
            assert advantage_R[row] == pytest.approx(0.0, abs=1e-2)
            assert tokens(out, row) == given
            now, n = by_hand(trainer, rollout), len(then)
            if "old_per_token_logps" in out and trainer._gdro_memory._correction == "clipped":
                assert out["old_per_token_logps"][row][:n].tolist() == pytest.approx(then, abs=1e-4)
                assert out["advantages"].ndim == 1
                assert out["advantages"][row].item() == pytest.approx(was, abs=1e-4)
            else:
                name, bounds = trainer._gdro_memory._correction, (0.2, 0.2)
                factor = (
                    decoupled(now[None], then[None])
                    if name == "decoupled"
                    else clipped(now[None], then[None], np.array([was]), *bounds)
                )[0]
                assert out["advantages"][row][:n].tolist() == pytest.approx(was * factor, abs=2e-3)
                count["moved"] += bool(np.abs(factor - 1).max() > 1e-3)
            count["rows"] += 1
        count["groups"] += len({r.prompt for r in recalls if r.kind == "group"})
        rows = {int(row) for row in (joining.placed.row_M if joining else ())}
        for row in set(range(len(advantage_R))) - rows:
            assert tokens(out, row) == tokens(generated, row)
            want = out["advantages"][row].double().flatten()
            assert want.tolist() == pytest.approx([advantage_R[row]] * len(want), abs=1e-5)
        for prompt in np.unique(outcome.prompt_R):
            own = np.flatnonzero(outcome.prompt_R == prompt)
            if np.ptp(outcome.reward_R[own]) > 0:
                order = sorted(own, key=outcome.reward_R.__getitem__)
                stored = trainer._gdro_memory.store.rollouts[prompt]
                known[int(prompt)] = [
                    (tokens(generated, row), advantage_R[row], by_hand(trainer, rollout))
                    for row, rollout in zip(order, stored, strict=True)
                ]
        return out

    trainer._gdro_batch = check
    return trainer, count


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("popo", {}),
        ("popo", {"num_iterations": 2, "loss_type": "dr_grpo"}),
        (REPLAY, {"scale_rewards": "none"}),
        (REPLAY, {"num_iterations": 2}),
        (f"rollout-gdro + {REPLAY}", {}),
    ],
)
def test_every_row_by_hand(strategy, options):
    """Recalled rows have the advantages of their own step, corrected; all else stays as generated."""
    trainer, count = watched(strategy, max_steps=10, learning_rate=3e-3, **options)
    trainer.train()
    assert count["rows"] == trainer.controller.ledger.recalled > 8
    assert (count["groups"] > 2) is strategy.startswith("popo")
    if "num_iterations" not in options:
        assert count["moved"] > 3, "the policy must have moved for the correction to be seen"


def test_what_is_too_old_to_come_back_is_not_kept():
    trainer = make("popo(max_age=2)", max_steps=9, num=24)
    trainer.train()
    stored = {p: group[0].step for p, group in trainer._gdro_memory.store.rollouts.items()}
    at_N = trainer.controller._state.at_N
    assert stored == {p: int(at_N[p]) for p in range(24) if at_N[p] >= 6}
    assert len(stored) < np.count_nonzero(at_N[:] >= 0)


@pytest.mark.parametrize("strategy", ["popo", REPLAY])
def test_a_resumed_training_is_bit_identical(strategy, tmp_path):
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "num": 24}
    whole = make(strategy, output_dir=str(tmp_path), **options)
    whole.train()
    assert whole.controller.ledger.recalled > 4
    resumed = make(strategy, output_dir=str(tmp_path), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.controller.digest() == whole.controller.digest()
    assert resumed.controller.ledger == whole.controller.ledger
    assert torch.equal(tiny.weights(resumed), tiny.weights(whole))


def test_a_loss_that_takes_one_advantage_a_row_is_refused(monkeypatch):
    monkeypatch.setattr(GRPOTrainer, "compute_liger_loss", None, raising=False)
    monkeypatch.setattr(checks, "check_config", lambda args: setattr(args, "use_liger_kernel", True))
    for strategy in ("popo", f"rollout-gdro + {REPLAY}"):
        with pytest.raises(UnsupportedError, match=r"each token.*use_liger_kernel=False.*'memory'"):
            make(strategy)
    make("memory")


@pytest.mark.parametrize("strategy", ["popo", REPLAY])
def test_truncated_rows_that_are_masked_out_are_not_stored(strategy):
    trainer = make(strategy, max_steps=8, mask_truncated_completions=True, max_completion_length=12)
    trainer.train()
    stored = [r for group in trainer._gdro_memory.store.rollouts.values() for r in group]
    assert stored and all(r.completion_ids[-1] in (0, 1) for r in stored), "each ends with an end"
    assert trainer.controller.ledger.recalled > 0
