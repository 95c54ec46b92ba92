"""The trainer's options of a recipe, with what `auto` stands for on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig  # pyright: ignore[reportPrivateImportUsage]

from gdro.recipes.checks import check_bounds_of, check_steps, check_trl
from gdro.recipes.processes import num_processes
from gdro.recipes.schema import Recipe, RecipeError

# Options of the trainer that would write or resume in another folder.
_OURS = {
    "output_dir": "--output FOLDER",
    "logging_dir": "--output FOLDER",
    "resume_from_checkpoint": "--resume, with --output for another run's folder",
}


def trl_config(recipe: Recipe, folder: Path) -> GRPOConfig:
    """The trainer's options; `bf16: auto` becomes true where the hardware has bfloat16.

    Raises:
        RecipeError: GRPOConfig does not know an option, or refuses its value, or no step would be
            trained.
    """
    for name, instead in _OURS.items():
        if name in recipe.trl:
            raise RecipeError(
                f"trl.{name} is given; every arm has its own folder in the run's, so leave it out and "
                f"pass {instead}"
            )
    options = {"seed": recipe.seed, "output_dir": str(folder), **recipe.trl}
    if options.get("bf16") == "auto":
        options |= _automatic_bf16(options)
    check_bounds_of(options)
    if options.get("gradient_accumulation_steps") == "auto":
        options["gradient_accumulation_steps"] = _accumulation(options)
    check_trl(options, GRPOConfig)
    try:
        config = GRPOConfig(**options)
    except ValueError as error:
        hardware = "use_cpu" in str(error)
        fix = "; for the CPU give trl.use_cpu=true trl.bf16=auto, or add --dry-run" if hardware else ""
        raise RecipeError(f"trl options are refused by GRPOConfig: {error}{fix}") from error
    check_steps(config)
    return config


def _accumulation(options: dict[str, Any]) -> int:
    """Micro-batches of one optimiser step over a whole generation batch."""
    rows = options.get("generation_batch_size") or 0
    held = options.get("per_device_train_batch_size", 8) * num_processes()
    if not rows or rows % held:
        raise RecipeError(
            f"trl.generation_batch_size is {rows}; with gradient_accumulation_steps: auto it must be a "
            f"multiple of per_device_train_batch_size x processes = {held}"
        )
    return rows // held


def _automatic_bf16(options: dict[str, Any]) -> dict[str, Any]:
    """Value of `bf16: auto`; without an accelerator, GRPOConfig accepts bf16 only with use_cpu."""
    if options.get("fp16"):
        return {"bf16": False}
    on_cpu = options.get("use_cpu") or not torch.accelerator.is_available()
    return {"bf16": _has_bf16(bool(on_cpu)), **({"use_cpu": True} if on_cpu else {})}


def _has_bf16(on_cpu: bool) -> bool:
    """Whether bfloat16 is fast here; a CPU without instructions for it is many times slower."""
    if not on_cpu:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
