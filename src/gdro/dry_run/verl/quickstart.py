"""The quickstart's model and task for verl, which `make test-verl` trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gdro.report.load import load_runs
from gdro.tasks.chains import load

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


_OVERRIDES = """
data.train_batch_size=16
data.max_prompt_length=8
data.max_response_length=8
data.filter_overlong_prompts=False
algorithm.adv_estimator=grpo
actor_rollout_ref.actor.use_kl_loss=False
actor_rollout_ref.actor.optim.lr=1e-3
actor_rollout_ref.actor.ppo_mini_batch_size=16
actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=32
actor_rollout_ref.rollout.n=4
actor_rollout_ref.rollout.prompt_length=8
actor_rollout_ref.rollout.response_length=8
actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=32
actor_rollout_ref.rollout.calculate_log_probs=True
trainer.logger=[console]
trainer.val_before_train=False
trainer.test_freq=-1
trainer.save_freq=-1
trainer.resume_mode=disable
trainer.total_epochs=1000
"""


def compute_score(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    """verl's reward function: 1 if the answer is right, otherwise 0."""
    right = float(solution_str.strip() == ground_truth)
    return {"score": right, "acc": right}


def prepare(folder: Path, train_size: int = 256, seed: int = 0, heldout_size: int = 64) -> list[str]:
    """Write model, tokenizer and data of a seed, and return the Hydra overrides that train on them."""
    data = load(seed, train_size, heldout_size)
    data.tokenizer.chat_template = TEMPLATE
    data.model.save_pretrained(folder / "model")
    data.tokenizer.save_pretrained(folder / "model")
    for name, rows in (("train", data.train), ("val", data.heldout)):
        rows.map(_schema, with_indices=True, remove_columns=rows.column_names).to_parquet(
            folder / f"{name}.parquet"
        )
    return [
        *_OVERRIDES.split(),
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/val.parquet",
        f"actor_rollout_ref.model.path={folder}/model",
        f"reward.custom_reward_function.path={__file__}",
        f"trainer.default_local_dir={folder}/checkpoints",
    ]


def log_summary(log: Path) -> str:
    """A few sentences on the last quarter of the steps of a run log."""
    (run,), _ = load_runs([log])
    late = slice(-max(1, run.num_steps // 4), None)
    prompts_C = np.nansum(run.bins["prompts"][late], 0)
    rollouts_C = np.nansum(run.bins["prompts"][late] * run.bins["rollouts"][late], 0)
    seen = 1 + np.flatnonzero(prompts_C[1:] > 0)
    if not len(seen):
        return "No prompt came back yet; take more steps to see the controller act."
    mean_C = rollouts_C[seen] / prompts_C[seen]
    rate_S = run.metrics["pass_rate"]
    before, after = rate_S[: -late.start].mean(), rate_S[late].mean()
    return (
        f"In the last quarter of the run prompts of the hardest bin had {mean_C[0]:.1f} rollouts, those "
        f"of the easiest {mean_C[-1]:.1f}; the mean is {rollouts_C.sum() / prompts_C.sum():.1f}. The "
        f"pass rate of training prompts went from {before:.2f} in the first quarter to {after:.2f}: so "
        "few steps show that the parts work, not what they gain."
    )


def _schema(row: dict[str, Any], index: int) -> dict[str, Any]:
    """The row in verl's schema."""
    return {
        "data_source": "chains",
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": row["answer"]},
        "extra_info": {"index": index, "length": row["length"]},
    }
