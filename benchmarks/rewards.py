"""Answers a second of the math reward, and what hostile ones cost.

Limits count the processor's time of the workers, so that of hostile answers is compared with its limit,
on a busy machine too; the time by the clock is for a machine that has a processor for each worker.

`python benchmarks/rewards.py [FILE...]`; without files: the samples of the tests, repeated. Golds are
shuffled against answers, so that most pairs are wrong; nothing is cached between pairs.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from pathlib import Path

from gdro.data import load
from gdro.rewards import MathVerifier

SAMPLES = Path(__file__).parents[1] / "tests/data/samples"
HOSTILE = (
    "(" * 300 + "1" + ")" * 300,
    "9^{9^{9^{9}}}",
    r"\sum_{k=1}^{10^{9}} \frac{1}{k^3}",
    "+".join(["1/3"] * 100),
)


def main() -> None:
    """Print a line for each file, and one for batches with hostile answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=sorted(SAMPLES.glob("*.jsonl")))
    parser.add_argument("--pairs", type=int, default=3000)
    arguments = parser.parse_args()
    for file in arguments.files:
        name = {"gsm8k": "gsm8k", "math": "math-500"}.get(file.stem) if file.parent == SAMPLES else None
        answers = load(name, file)["answer"][:] if name else load(str(file))["answer"][:]
        golds = random.Random(0).choices(answers, k=arguments.pairs)
        given = random.Random(1).choices(answers, k=arguments.pairs)
        with MathVerifier(workers=2, timeout_s=2.0) as verifier:
            verifier.compare(golds[:100], given[:100])
            print(f"{file.name}: {arguments.pairs / seconds(verifier, golds, given):,.0f} answers/s")
    golds, given = [r"\frac{1}{2}"] * 64, [f"\\frac{{{i}}}{{7}}" for i in range(64)]
    hostile = [HOSTILE[i % len(HOSTILE)] if i % 8 == 0 else text for i, text in enumerate(given)]
    clean, _, start = batch(golds, given)
    taken, timeouts, used = batch(golds, hostile)
    print(
        f"8 hostile of 64: {taken:.2f} s, clean {clean:.2f} s; of the processor {used - start:.2f} s, "
        f"limit {1.2 * 8 * 2.0:.2f} s; {timeouts} timeouts"
    )


def batch(golds: list[str], given: list[str]) -> tuple[float, int, float]:
    """Seconds and timeouts of one batch, and seconds of the processor of its verifier's workers."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    with MathVerifier(workers=2, timeout_s=2.0) as verifier:
        taken = seconds(verifier, golds, given)
    return taken, verifier.timeouts, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before


def seconds(verifier: MathVerifier, golds: list[str], given: list[str]) -> float:
    """Time of one batch."""
    start = time.perf_counter()
    verifier.compare(golds, given)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
