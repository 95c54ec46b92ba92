"""One sitting on a machine with a GPU: prepare, run, collect; on a CPU, a miniature of the same.

    python benchmarks/gpu/sitting.py prepare --train FILE --test FILE
    python benchmarks/gpu/sitting.py run --phases check,speed,steps,overhead --budget 240
    python benchmarks/gpu/sitting.py run --phases base,quality,train --budget 540 --arms grpo,gdro
    python benchmarks/gpu/sitting.py mini

`prepare` writes what a machine without a network needs; there its wheels are installed first, with
Python 3.12 on Linux (another version: prepare --python) and PyTorch:

    pip install --no-index --no-deps .carry/a/wheels/*.whl

The first `run` says whether all of it works there and how fast, on a random model; the second teaches
the base and trains arms by paired seeds (`--share --workers 4`: four at once); `mini` is all of it in
two minutes of a CPU.

Results are written while it runs, six files: `sitting.jsonl` (a line each evaluation),
`speed.json`, `sitting.md`, `steps.jsonl`, `steps.md`, `runs.tar.gz` (logs). A second call with the same
--work and --out adds to them. `speed.json` says under `measured` in which call a figure was measured,
how many processes ran and whether they shared the GPU. `python benchmarks/gpu/table.py FILES` puts
sittings together.

SIGINT and SIGTERM end the trainings and collect what was reached; after SIGKILL the trainings end by
themselves, and the next call collects. Exit status: 0 done; 1 a phase failed; 2 a wrong argument; 3 a
phase had nothing to do or no time, and says so; 128 + n ended by signal n.
"""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import nullcontext
from types import FrameType
from typing import Any

from state import Idle, Sitting, say

from gdro.errors import GdroError

_SURVIVED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError, OSError)
PHASES = ("check", "speed", "overhead", "steps", "base", "quality", "train")


class _Ended(KeyboardInterrupt):
    """A signal came that ends the sitting."""


def _listen() -> None:
    """Let signals that end a process be an exception, once, so that all is collected in peace."""
    ends = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ends = [number for number in ends if signal.getsignal(number) is not signal.SIG_IGN]  # nohup

    def end(number: int, frame: FrameType | None) -> None:
        for other in ends:
            signal.signal(other, signal.SIG_IGN)
        raise _Ended(number)

    for number in ends:
        signal.signal(number, end)


def run(sitting: Sitting, phases: list[str]) -> int:
    """All phases in order; workers load their libraries meanwhile.

    Returns:
        The exit status: 0, 1 if a phase failed, 3 if one had nothing to do.
    """
    import arms
    import carry
    import phases as of
    import training

    started: list[Any] = []
    job = sitting.job(sitting.seeds, sitting.base)
    folder = sitting.work / "train"

    def train(sitting: Sitting) -> None:
        training.train(sitting, job, folder, sitting.workers, started)

    measures = {
        "check": of.check,
        "speed": of.measure_generation,
        "steps": training.steps,
        "overhead": of.measure_overhead,
        "base": of.teach,
        "quality": of.quality,
        "train": train,
    }
    ends: dict[str, str] = {}
    try:
        if "train" in phases:
            started += arms.start_workers(job, folder, sitting.workers)
        if sitting.tiny:
            of.random_model(sitting)  # also a base's start
        for name, measure in measures.items():
            if name in phases and not (name == "train" and ends.get("base") == "FAILED"):
                ends[name] = _end_of(measure, sitting)
                say(f"{name} {ends[name]}")
    finally:
        arms.stop(started)
        carry.pack(sitting.work, sitting.out)
    failed = [name for name, end in ends.items() if end == "FAILED"]
    idle = [name for name, end in ends.items() if end.startswith("did nothing")]
    say(
        f"failed: {', '.join(failed)}"
        if failed
        else f"did nothing: {', '.join(idle)}"
        if idle
        else "done"
    )
    return 1 if failed else 3 if idle else 0


def _end_of(measure: Any, sitting: Sitting) -> str:
    """How a phase ends, in words; one call must say as much as it can, so the others go on."""
    try:
        measure(sitting)
    except Idle as why:
        return f"did nothing: {why}"
    except GdroError as error:
        say(str(error))
        return "FAILED"
    except _SURVIVED:
        traceback.print_exc()
        return "FAILED"
    return "is done"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    import carry
    import command

    given = command.parser(__doc__, PHASES).parse_args(arguments)
    _listen()
    try:
        if given.command == "prepare":
            carry.prepare(given.to, {"train": given.train, "test": given.test}, given.python)
            return
        sitting, phases = command.sitting(given, PHASES)
        import share

        with share.shared() if given.share else nullcontext("processes take turns") as how:
            say(how)
            sitting.begin(phases, how)
            status = run(sitting, phases)
    except GdroError as error:
        print(f"sitting.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except _Ended as ended:
        number = int(ended.args[0])
        say(f"ended by {signal.Signals(number).name}; what was reached is collected")
        raise SystemExit(128 + number) from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
