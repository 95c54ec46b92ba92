"""gdro in TRL's GRPOTrainer: `GDROTrainer`, the mixin for trainers of your own, and their config."""

from gdro.integrations.trl.config import GDROConfig
from gdro.integrations.trl.trainer import GDROMixin, GDROTrainer

__all__ = ["GDROConfig", "GDROMixin", "GDROTrainer"]
