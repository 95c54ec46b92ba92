"""The probes as a plugin of verl: imported after verl's trainers, and only where those are."""

from __future__ import annotations

from importlib import import_module

import wrapt

wrapt.register_post_import_hook(lambda _: import_module("probes"), "verl.trainer.ppo.v1")
