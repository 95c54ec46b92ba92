"""TRL's trainer with gdro, on the quickstart's tiny model: four steps on the CPU.

Run it: `python examples/trl_script.py`. Compared with a plain GRPO script, only the import, the
class and `strategy=` differ.
"""

from __future__ import annotations

import tempfile

from trl import GRPOConfig

from gdro.integrations.trl import GDROTrainer
from gdro.tasks import chains


def main() -> None:
    task = chains.load(seed=0, train_size=200, heldout_size=8)
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            max_steps=4,
            per_device_train_batch_size=64,
            num_generations=4,
            max_completion_length=6,
            learning_rate=5e-4,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_steps=2,
            logging_steps=4,
            disable_tqdm=True,
        )
        trainer = GDROTrainer(
            model=task.model,
            reward_funcs=task.reward_funcs,
            args=config,
            train_dataset=task.train,
            processing_class=task.tokenizer,
            id_column="prompt_id",
            strategy="prompt-gdro + rollout-gdro",
        )
        trainer.train()  # after a crash: train(resume_from_checkpoint=True)
    ledger = trainer.controller.ledger
    print(f"{ledger.closed} steps, {ledger.rollouts} rollouts, {ledger.tokens} tokens")


if __name__ == "__main__":
    main()
