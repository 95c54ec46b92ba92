"""verl's configuration with overrides, as its main_ppo composes it."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir

import verl

CONFIGS = Path(verl.__file__).parent / "trainer/config"


def config(*overrides: str):
    """A configuration of the caller's own."""
    return deepcopy(_composed(*overrides))


@cache
def _composed(*overrides: str):
    wanted = [
        "trainer.v1.trainer_mode=gdro",
        "actor_rollout_ref.rollout.n=4",
        "algorithm.adv_estimator=grpo",
        *overrides,
    ]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose("ppo_trainer", wanted)
