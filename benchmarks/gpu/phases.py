"""Phases of a sitting that train nothing by arms: the device, generation, overhead, base, quality."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

from state import Idle, Sitting, say


def check(sitting: Sitting) -> None:
    """What there is: versions, the device, what it can do."""
    import speed
    import torch

    names = ("torch", "transformers", "trl", "datasets", "accelerate", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    device, what = torch.device("cuda" if torch.cuda.is_available() else "cpu"), speed.device_name()
    limits = speed.ceilings(device)
    sitting.keep(python=sys.version.split()[0], versions=versions, device=what, limits=limits)
    say(
        f"{what}; {versions}; copy {limits['bytes_a_second'] / 1e12:.2f} TB/s, bfloat16 product "
        f"{limits['flops_a_second'] / 1e12:.0f} TFLOP/s"
    )


def random_model(sitting: Sitting) -> Path:
    """A folder with a random model of the real one's shape; in a miniature, of its class."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from gdro.tasks.smollm2 import ARCHITECTURE
    from gdro.tasks.tiny_model import byte_tokenizer, write_tiny

    folder = sitting.work / "random"
    if folder.exists():
        return folder
    config = AutoConfig.for_model(**ARCHITECTURE)
    if sitting.tiny:
        write_tiny(folder, config, byte_tokenizer())
        return folder
    tokenizer = AutoTokenizer.from_pretrained(sitting.work / "tokenizer")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, getattr(tokenizer, name))
        setattr(model.generation_config, name, getattr(tokenizer, name))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure_generation(sitting: Sitting) -> None:
    """Milliseconds a token, ours and others, in bfloat16 as in training."""
    import speed
    import torch
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLM.from_pretrained(random_model(sitting), dtype="float32")
    model.to(device).eval()
    if sitting.speed.get("measured", {}).get("limits", {}).get("call") != sitting.call:
        check(sitting)  # figures of an earlier call may be of another machine
    limits, found = sitting.speed["limits"], []
    shapes = ((8, 16, 8, True),) if sitting.tiny else ((256, 96, 112, True), (1024, 96, 112, False))
    cast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
    with torch.no_grad(), cast:
        for rows, width, new, others in shapes:
            found += speed.generation(model, rows, width, new, limits, others=others)
            sitting.keep(generation=found)
    for line in found:
        say(
            f"{line['rows']} rows, {line['way']}: {line['ms_a_token']:.2f} ms a token, {line['new']} "
            f"tokens in {line['seconds']:.2f} s; floor {line['floor_ms']:.2f} ms, "
            f"{line['flops_share']:.1%} of the product's rate"
        )


def random_base(sitting: Sitting) -> Path:
    """The random model as a base that was taught one step, to see whether all of it works."""
    folder = sitting.work / "random-base"
    random_model(sitting)
    make_base(sitting, folder)
    return folder


def make_base(sitting: Sitting, folder: Path) -> None:
    """Teach the base of a folder, with the recipe's options."""
    from gdro.tasks import gsm8k

    options = sitting.job([0], folder).recipe(sitting.arms[0], 0).task_options
    given = (options["files"], options["sizes"], options.get("lesson"))
    gsm8k.make_base(options["model"], folder, *given)


def measure_overhead(sitting: Sitting) -> None:
    """GDROTrainer over GRPOTrainer, a step each in turn, both with the static decoder."""
    import overhead

    taught = sitting.base.exists()
    # A taught base succeeds; with a small pool its prompts come back, so that rows are recalled.
    small = [] if sitting.tiny or not taught else ["task_options.sizes.pool=64"]
    job = sitting.job([0], sitting.base if taught else random_base(sitting), small)
    num_measured = 0
    for strategy in ("rollout-gdro + memory", "rollout-gdro"):
        if sitting.until - time.monotonic() < sitting.needed:
            say(f"no time is left for the overhead of {strategy}")
            break
        num_measured += 1
        num = 4 if sitting.tiny else 10
        found = overhead.pairs(job.recipe(job.arms[0], 0), strategy, num, sitting.work)
        name = f"overhead of {strategy}" + (", taught base" if taught else "")
        sitting.keep(**{name: found})
        say(f"{name}: {found}")
    if not num_measured:
        raise Idle("the time of --budget was over before a pair of steps; give more")


def teach(sitting: Sitting) -> None:
    """Make the base, once on a machine."""
    from gdro.tasks import gsm8k

    start = time.monotonic()
    make_base(sitting, sitting.base)
    made = json.loads((sitting.base / gsm8k.MADE).read_text())
    sitting.keep(base=made)
    say(
        f"base in {time.monotonic() - start:.0f} s: {made['taught']} texts, loss {made['loss'][0]} to "
        f"{made['loss'][-1]}, weights {made['weights']}"
    )


def quality(sitting: Sitting) -> None:
    """The static decoder against transformers on the base's own prompts."""
    import speed
    import torch

    from gdro.recipes.run import load_task

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = load_task(sitting.job([0], sitting.base).recipe(sitting.arms[0], 0))
    prompts = task.heldout["prompt"][: 4 if sitting.tiny else 64]
    model, new = task.model.to(device).eval(), 8 if sitting.tiny else 112
    found = speed.agreement(model, task.tokenizer, prompts, new, device.type == "cuda")
    sitting.keep(agreement=found)
    say(f"static decoder and transformers: {found}")
