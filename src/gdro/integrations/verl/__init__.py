"""gdro in verl's trainer: import it by `VERL_USE_EXTERNAL_MODULES=gdro.integrations.verl`.

Then `trainer.v1.trainer_mode=gdro +gdro.strategy=rollout-gdro` trains with a controller: docs/verl.md.
`gdro_colocate_async` and `gdro_separate_async` are verl's asynchronous modes with one.
On a CPU, for dry runs and tests: see `gdro.dry_run.verl.cpu`.
"""

from gdro.integrations.verl.asynchronous import GDROColocateAsync, GDROSeparateAsync
from gdro.integrations.verl.options import VerlOptions
from gdro.integrations.verl.patches import forward_environment
from gdro.integrations.verl.trainer import GDROTrainer

__all__ = ["GDROColocateAsync", "GDROSeparateAsync", "GDROTrainer", "VerlOptions"]

forward_environment()
