"""gdro in verl's trainer: import it by `VERL_USE_EXTERNAL_MODULES=gdro.integrations.verl`.

Then `trainer.v1.trainer_mode=gdro +gdro.strategy=rollout-gdro` trains with a controller: docs/verl.md.
On a CPU, for dry runs and tests: see `gdro.dry_run.verl.cpu`.
"""

from gdro.integrations.verl.options import VerlOptions
from gdro.integrations.verl.patches import forward_environment
from gdro.integrations.verl.trainer import GDROTrainer

__all__ = ["GDROTrainer", "VerlOptions"]

forward_environment()
