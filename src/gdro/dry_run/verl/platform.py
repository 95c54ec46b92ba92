"""A CPU as verl's platform."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

_PLENTY = 1 << 34  # free bytes to report: no CPU run should stop for lack of a GPU's memory


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing, for functions of devices that a CPU does not need."""


def _zero(*_: Any, **__: Any) -> int:
    return 0


class _CpuModule(ModuleType):
    """`torch.cpu` with the functions of `torch.cuda` that verl calls."""

    empty_cache = ipc_collect = set_device = reset_peak_memory_stats = staticmethod(_nothing)
    set_per_process_memory_fraction = manual_seed = manual_seed_all = staticmethod(_nothing)
    memory_allocated = memory_reserved = staticmethod(_zero)
    max_memory_allocated = max_memory_reserved = staticmethod(_zero)
    get_rng_state, set_rng_state = staticmethod(torch.get_rng_state), staticmethod(torch.set_rng_state)

    @staticmethod
    def get_device_name(*_: Any) -> str:
        """The device that verl prints, and by which it looks up a peak speed."""
        return "CPU"

    @staticmethod
    def mem_get_info(*_: Any) -> tuple[int, int]:
        """Free and total bytes."""
        return _PLENTY, _PLENTY

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """A CPU as verl's accelerator."""

    device_name = property(lambda self: "cpu")
    vendor_name = property(lambda self: "cpu")
    device_module = property(lambda self: _MODULE)
    set_device = synchronize = set_allocator_settings = empty_cache = _nothing
    profiler_start = profiler_stop = cudart = _nothing

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never detected, for machines with GPUs have a CPU too; `VERL_PLATFORM=cpu` selects it."""
        return False

    def current_device(self) -> Any:
        """The CPU, which has no index."""
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable is not used, but Ray sets it."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def ray_resource_name(self) -> str:
        """Logical GPUs, which Ray counts without looking for hardware."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        """Weights are sent by Ray."""
        return False


_MODULE = _CpuModule("gdro_cpu_device")
