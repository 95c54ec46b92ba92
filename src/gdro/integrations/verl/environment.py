"""The environment of Ray's workers."""

from __future__ import annotations

import json
import os
from typing import Any

FORWARDED = ("VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM")


def forward(constants: Any) -> None:
    """Pass the variables that name verl's plugins on to Ray's workers.

    Workers inherit them if `main_ppo` starts Ray. In a cluster that runs already they do not, and the
    trainer, which is one of the workers, would not know gdro. What `ray job submit` was given reaches
    them already, and Ray refuses a variable that both name.

    Args:
        constants: The module `verl.trainer.constants_ppo`.
    """
    environment = constants.get_ppo_ray_runtime_env

    def forwarded(config: Any = None) -> dict[str, Any]:
        runtime, known = environment(config), job_variables()
        plugins = {n: os.environ[n] for n in FORWARDED if n in os.environ and n not in known}
        return {**runtime, "env_vars": {**plugins, **runtime["env_vars"]}}

    constants.get_ppo_ray_runtime_env = forwarded


def job_variables() -> dict[str, str]:
    """Variables that `ray job submit` was given, none where `main_ppo` was started without it."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return job.get("runtime_env", {}).get("env_vars", {})
