"""Run by torchrun on two CPU processes; writes what each rank ended with."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tiny

from gdro import DivergenceError
from gdro.integrations.trl import GDROTrainer


def make(folder: Path, strategy: str) -> GDROTrainer:
    def checked(prompts, completions, answer, **_):
        rows = {r["prompt"]: r["answer"] for r in tiny.dataset()}
        assert [rows[p] for p in prompts] == answer
        return tiny.lucky(completions, answer)

    return GDROTrainer(
        model=tiny.model(), reward_funcs=checked, processing_class=tiny.tokenizer(),
        args=tiny.config(output_dir=str(folder), max_steps=6, per_device_train_batch_size=8),
        train_dataset=tiny.dataset(), strategy=strategy,
    )  # fmt: skip


def main(folder: Path) -> None:
    extending = make(folder / "extending", "reinforce-ada + prompt-gdro")
    extending.train()
    ledger = extending.controller.ledger
    weights = hashlib.sha256(tiny.weights(extending).numpy().tobytes()).hexdigest()
    (folder / f"extending{extending.accelerator.process_index}.txt").write_text(
        f"{extending.controller.digest()} {weights} {ledger.rollouts - ledger.discarded}"
    )
    assert ledger.rollouts > 96, "nothing was extended"

    trainer = make(folder / "run", "joint")
    trainer.train()
    rank = trainer.accelerator.process_index
    weights = hashlib.sha256(tiny.weights(trainer).numpy().tobytes()).hexdigest()
    rollouts = trainer.controller.ledger.rollouts
    (folder / f"rank{rank}.txt").write_text(f"{trainer.controller.digest()} {weights} {rollouts}")
    assert (trainer.controller.log is not None) == (rank == 0)

    broken = make(folder / "broken", "rollout-gdro")
    if rank == 1:
        broken.controller._tracker.visits_N[3] = 5
    try:
        broken.train()
    except DivergenceError as error:
        (folder / "diverged.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
