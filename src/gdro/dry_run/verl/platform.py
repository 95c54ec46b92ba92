"""The platform: what verl asks of a device, answered by a CPU."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

_PLENTY = 1 << 34  # bytes that are said to be free: no CPU run should stop for a GPU's memory


def _nothing(*_: Any, **__: Any) -> None:
    """Memory pools, streams and devices that a CPU does not have."""


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
        """What verl prints as the device, and looks up its peak speed by."""
        return "CPU"

    @staticmethod
    def mem_get_info(*_: Any) -> tuple[int, int]:
        """Bytes free and in all."""
        return _PLENTY, _PLENTY

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """A CPU as verl's accelerator."""

    device_name = property(lambda self: "cpu")
    vendor_name = property(lambda self: "cpu")
    device_module = property(lambda self: _MODULE)

    def is_available(self) -> bool:
        """Always."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Only by `VERL_PLATFORM=cpu`, never detected: a machine with GPUs has a CPU too."""
        return False

    def current_device(self) -> Any:
        """The CPU, which has no index."""
        return torch.device("cpu")

    def device_count(self) -> int:
        """One."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to choose."""

    def synchronize(self, device_index: int | None = None) -> None:
        """A CPU is never behind."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """No allocator to set."""

    def empty_cache(self) -> None:
        """No cache to empty."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """None."""
        return None, None

    def communication_backend_name(self) -> str:
        """Gloo."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Unused, but Ray sets it."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler."""
        yield

    def profiler_start(self) -> None:
        """No profiler."""

    def profiler_stop(self) -> None:
        """No profiler."""

    def ray_resource_name(self) -> str:
        """Logical GPUs: Ray counts them and asks for no hardware."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """None."""
        return []

    def is_ipc_supported(self) -> bool:
        """Weights are sent by Ray."""
        return False

    def cudart(self) -> Any:
        """None."""
        return None


_MODULE = _CpuModule("gdro_cpu_device")
