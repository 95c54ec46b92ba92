"""The card of a saved model says how it was trained."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import tiny

from gdro.integrations.trl import GDROTrainer


@pytest.mark.parametrize("apply", [True, False])
def test_the_card_names_gdro_and_its_strategy(apply: bool, tmp_path: Path) -> None:
    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(output_dir=str(tmp_path)),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        apply=apply,
        strategy="mopps + rollout-gdro(n_max=9)",
    )
    trainer.create_model_card(model_name="mine")
    card = (tmp_path / "README.md").read_text()
    assert "None" not in card.split("```")[0] and "a fine-tuned local model" in card
    said = "planned its rollouts" if apply else "watched it (shadow mode, plain GRPO)"
    at = card.index(f"{said}: strategy `joint`")
    assert card.index("trained with GRPO") < at < card.index("### Framework versions")
    assert '"name": "rollout-gdro", "n_min": 2, "n_max": 9' in card and "seed 3." in card
    # Every argument is saved beside the model, `hub_token` too: for its owner alone, also anew.
    saved = tmp_path / "model/training_args.bin"
    for _ in range(2):
        trainer.save_model(str(saved.parent))
        assert saved.stat().st_size and stat.S_IMODE(saved.stat().st_mode) == 0o600
        saved.chmod(0o644)
