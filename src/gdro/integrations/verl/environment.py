"""The environment of Ray's workers."""

from __future__ import annotations

import os
from typing import Any

FORWARDED = ("VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM")


def forward(constants: Any) -> None:
    """Pass the variables that name verl's plugins on to Ray's workers.

    Workers inherit them if `main_ppo` starts Ray. In a cluster that runs already they do not, and the
    trainer, which is one of the workers, would not know gdro.

    Args:
        constants: The module `verl.trainer.constants_ppo`.
    """
    environment = constants.get_ppo_ray_runtime_env

    def forwarded(config: Any = None) -> dict[str, Any]:
        runtime = environment(config)
        plugins = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        return {**runtime, "env_vars": {**plugins, **runtime["env_vars"]}}

    constants.get_ppo_ray_runtime_env = forwarded
