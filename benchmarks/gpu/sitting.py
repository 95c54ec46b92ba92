"""One sitting on a machine with a GPU: prepare, run, collect; on a CPU, a miniature of the same.

    python benchmarks/gpu/sitting.py prepare --train FILE --test FILE
    python benchmarks/gpu/sitting.py run --phases check,speed,steps,overhead --budget 240
    python benchmarks/gpu/sitting.py run --phases base,quality,train --budget 540 --arms grpo,gdro
    python benchmarks/gpu/sitting.py mini

`prepare` writes what a machine without a network needs; the first `run` says whether all of it works
there and how fast, on a random model; the second teaches the base and trains arms by paired seeds
(`--share --workers 4`: four at once);
`mini` is all of it in two minutes of a CPU. Results are written while it runs: `sitting.jsonl` (a line
each evaluation), `speed.json`, `sitting.md`, logs. `python benchmarks/gpu/table.py FILES` puts sittings
together.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

START = time.monotonic()
_SURVIVED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError, OSError)
PHASES = ("check", "speed", "overhead", "steps", "base", "quality", "train")


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - START:6.1f}] {text}", flush=True)


@dataclasses.dataclass
class Sitting:
    """What a sitting does, and where.

    Attributes:
        work: Folder that outlives a call: model, base, runs.
        out: Folder of what comes back.
        tiny: A miniature for a CPU.
        until: Of `time.monotonic`.
        arms: Of the recipe.
        seeds: Of the runs.
        workers: Processes that train side by side.
        overrides: Of the recipe.
        needed: Seconds that a run needs at least to be begun.
        gguf: The model's file, None: a random model of its shape.
        speed: What was measured so far.
    """

    work: Path
    out: Path
    tiny: bool
    until: float
    arms: list[str]
    seeds: list[int]
    workers: int
    overrides: list[str]
    needed: float
    gguf: Path | None = None
    speed: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Go on with what an earlier call measured."""
        if (self.out / "speed.json").exists():
            self.speed |= json.loads((self.out / "speed.json").read_text())

    def keep(self, **found: Any) -> None:
        """Add to `speed.json`."""
        from gdro.common.files import write_json

        self.speed |= found
        write_json(self.out / "speed.json", self.speed)

    def job(self, seeds: list[int], base: Path, extra: Sequence[str] = ()) -> Any:
        """What workers do, on a base."""
        from arms import Job
        from mini import TINY

        files = [f"task_options.files.{name}={self.work / name}.jsonl" for name in ("train", "test")]
        real = base == self.base
        model = self.gguf if self.gguf and real else self.work / "random"
        given = [
            *files,
            f"task_options.base={base}",
            f"task_options.model={model}",
            "trl.save_strategy='no'",
            "trl.disable_tqdm=true",
        ]
        given += [] if real else ["task_options.lesson.steps=1"]
        small = TINY if self.tiny else []
        return Job([*small, *given, *self.overrides, *extra], self.arms, seeds, self.until, self.needed)

    @property
    def base(self) -> Path:
        """Folder of the taught base."""
        return self.work / "base"


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
    if "limits" not in sitting.speed:
        check(sitting)
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
    for strategy in ("rollout-gdro + memory", "rollout-gdro"):
        if sitting.until - time.monotonic() < sitting.needed:
            say(f"no time is left for the overhead of {strategy}")
            break
        num = 4 if sitting.tiny else 10
        found = overhead.pairs(job.recipe(job.arms[0], 0), strategy, num, sitting.work)
        name = f"overhead of {strategy}" + (", taught base" if taught else "")
        sitting.keep(**{name: found})
        say(f"{name}: {found}")


def steps(sitting: Sitting) -> None:
    """A few steps and evaluations of the random base: one process, then all side by side."""
    folder, few = random_base(sitting), 4 if sitting.tiny else 10
    extra = [f"trl.max_steps={few}", f"evaluation.every={few // 2}"]
    if not sitting.tiny:
        extra += ["evaluation.base_samples=8", "evaluation.samples=8", "evaluation.also=[4]"]
    for workers in sorted({1, sitting.workers}):
        job = dataclasses.replace(sitting.job(list(range(workers)), folder, extra), needed=0.0)
        job = dataclasses.replace(job, arms=job.arms[:1])
        lines = train(sitting, job, sitting.work / f"steps-{workers}", workers)
        times = {line["seed"]: line["curves"]["step_time"] for line in lines if line["step"] == few}
        sitting.keep(**{f"seconds of the last steps, {workers} at once": times})
        say(f"seconds of the last steps, {workers} at once: {times}")


def teach(sitting: Sitting) -> None:
    """Make the base, once on a machine."""
    from gdro.tasks import gsm8k

    if sitting.gguf is None and not sitting.tiny:
        raise SystemExit("the model's file is not whole: carry all its parts, one after another")
    random_model(sitting) if sitting.tiny else None
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


def train(sitting: Sitting, job: Any, folder: Path, workers: int, started: Any = None) -> list[Any]:
    """Measure the base, let the workers train, and write what they reach."""
    import arms
    import speed
    import table

    started = started or arms.start_workers(job, folder, workers)
    base = arms.measure_base(job, folder)
    device = "CPU, a miniature" if sitting.tiny else speed.device_name()
    about = {"device": device, "base": base["weights"]}
    kept = sitting.out / ("sitting" if folder.name == "train" else folder.name)
    arms.release(folder)
    one = next(name for name in base if name.startswith("mean@"))
    k = int(one.removeprefix("mean@"))
    say(
        f"the base solves {base[one]:.3f} at one try, {base[f'pass@{k}']:.3f} in {k}; "
        f"{[(s['name'], s['num_prompts']) for s in base['slices']]}"
    )
    sitting.keep(**{f"base of {folder.name}": {name: base[name] for name in base if name != "rate_N"}})
    seen, lines = 0, []
    while any(process.poll() is None for process in started) and time.monotonic() < sitting.until + 20:
        time.sleep(1)
        lines = arms.gathered(folder, about)
        if len(lines) > seen:
            seen = len(lines)
            arms.write_lines(kept.with_suffix(".jsonl"), lines)
            say(f"{seen} evaluations: " + arms.newest(lines, k))
    for process in started:
        process.terminate()
    lines = arms.gathered(folder, about)
    arms.write_lines(kept.with_suffix(".jsonl"), lines)
    failed = [process.wait() for process in started]
    kept.with_suffix(".md").write_text(table.printed(lines, k) + "\n")
    print(table.printed(lines, k), flush=True)
    if any(code not in (0, -signal.SIGTERM) for code in failed):
        for log in sorted(folder.glob("worker-*.log")):
            print(log.name, log.read_text(errors="replace")[-2000:], flush=True)
        raise RuntimeError(f"workers of {folder.name} ended with {failed}; their logs are above")
    return lines


def run(sitting: Sitting, phases: list[str]) -> list[str]:
    """All phases in order, and which of them failed; workers load their libraries meanwhile."""
    import arms
    import carry

    sitting.work.mkdir(parents=True, exist_ok=True)
    sitting.out.mkdir(parents=True, exist_ok=True)
    job, started = None, None
    if "train" in phases:
        job = sitting.job(sitting.seeds, sitting.base)
        started = arms.start_workers(job, sitting.work / "train", sitting.workers)
    done = {
        "check": check,
        "speed": measure_generation,
        "steps": steps,
        "overhead": measure_overhead,
        "base": teach,
        "quality": quality,
    }
    failed = []
    try:
        for name, phase in done.items():
            if name not in phases:
                continue
            try:
                phase(sitting)
            except _SURVIVED:  # one call must say as much as it can
                traceback.print_exc()
                failed.append(name)
            say(f"{name} {'FAILED' if name in failed else 'is done'}")
        if job is not None and "base" not in failed:
            try:
                train(sitting, job, sitting.work / "train", sitting.workers, started)
            except _SURVIVED:
                traceback.print_exc()
                failed.append("train")
    finally:
        for process in started or ():
            process.terminate()
        carry.pack(sitting.work, sitting.out)
    say("done" if not failed else f"failed: {', '.join(failed)}")
    return failed


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    import arms
    import carry
    import command
    import mini
    import share

    from gdro.recipes.schema import load_recipe

    given = command.parser(__doc__, PHASES).parse_args(arguments)
    if given.command == "prepare":
        carry.prepare(given.to, {"train": given.train, "test": given.test})
        return
    tiny = given.command == "mini"
    phases = given.phases.split(",")
    unknown = set(phases) - set(PHASES)
    if unknown:
        raise SystemExit(f"no phase {sorted(unknown)[0]!r}; there are: {', '.join(PHASES)}")
    gguf = None
    if tiny:
        mini.made_up(given.work)
    else:
        gguf = carry.unpack(given.carried, given.work)
        say(f"model: {gguf or 'not whole yet'}")
    first, _, last = given.seeds.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise SystemExit(f"--seeds {given.seeds!r}: write first-last, e.g. 1-9")
    strange = set(given.arms.split(",")) - load_recipe(arms.RECIPE, []).arms.keys()
    if strange:
        raise SystemExit(f"--arms: the recipe {arms.RECIPE} has no arm {sorted(strange)[0]!r}")
    sitting = Sitting(
        work=given.work,
        out=given.out,
        tiny=tiny,
        arms=given.arms.split(","),
        until=START + given.budget - (0 if tiny else 20),
        workers=given.workers,
        seeds=list(range(int(first), int(last or first) + 1)),
        overrides=given.overrides,
        needed=0.0 if tiny else given.needed,
        gguf=gguf,
    )
    with share.shared() if given.share else nullcontext("processes take turns") as how:
        say(how)
        sitting.keep(sharing=how)
        raise SystemExit(1 if run(sitting, phases) else 0)


if __name__ == "__main__":
    main()
