"""gdro in verl's trainer: import it by `VERL_USE_EXTERNAL_MODULES=gdro.integrations.verl`.

Then `trainer.v1.trainer_mode=gdro +gdro.strategy=rollout-gdro` trains with a controller: docs/verl.md.
With `VERL_PLATFORM=cpu` verl runs on a CPU, for dry runs and tests.
"""

import os

if os.environ.get("VERL_PLATFORM") == "cpu":
    # First: verl asks for its platform as soon as the trainer is imported.
    from gdro.integrations.verl import cpu as cpu

from gdro.integrations.verl.options import VerlOptions
from gdro.integrations.verl.seam import forward_environment
from gdro.integrations.verl.trainer import GDROTrainer

__all__ = ["GDROTrainer", "VerlOptions"]

forward_environment()
