"""gdro in verl's trainer: import it by `VERL_USE_EXTERNAL_MODULES=gdro.integrations.verl`.

Then `trainer.v1.trainer_mode=gdro +gdro.strategy=rollout-gdro` trains with a controller: docs/verl.md.
`gdro_colocate_async` and `gdro_separate_async` are verl's asynchronous modes with one.
On a CPU, for dry runs and tests: see `gdro.dry_run.verl.cpu`.

Every process of a run imports this module, and few of them need a trainer: trainers are imported after
verl's own, so that the others start seconds earlier.
"""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import wrapt
except ImportError as missing:
    raise ImportError("wrapt is missing: pip install 'gdro[verl]'") from missing

from gdro.integrations.verl.environment import forward

if TYPE_CHECKING:
    from gdro.integrations.verl.asynchronous import GDROColocateAsync, GDROSeparateAsync
    from gdro.integrations.verl.options import VerlOptions
    from gdro.integrations.verl.trainer import GDROTrainer

__all__ = ["GDROColocateAsync", "GDROSeparateAsync", "GDROTrainer", "VerlOptions"]

_TRAINERS = "verl.trainer.ppo.v1"
_MODULE_OF = {
    "GDROColocateAsync": "asynchronous",
    "GDROSeparateAsync": "asynchronous",
    "GDROTrainer": "trainer",
    "VerlOptions": "options",
}


def __getattr__(name: str) -> Any:
    """The public classes, imported when they are asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(_TRAINERS)  # registers the trainers, in the one order that works
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def _register(_: Any) -> None:
    """Import the trainers, which register their modes with verl."""
    # One of them may be what imports verl's just now: it registers itself.
    if not any(f"{__name__}.{name}" in sys.modules for name in ("trainer", "asynchronous")):
        import_module(f"{__name__}.asynchronous")


wrapt.register_post_import_hook(_register, _TRAINERS)
wrapt.register_post_import_hook(forward, "verl.trainer.constants_ppo")
