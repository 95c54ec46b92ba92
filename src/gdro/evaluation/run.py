"""Sample completions for every problem of every set, and grade them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Protocol

from gdro.evaluation.records import EvaluationError, Record, append, check, open_folder, rewrite
from gdro.rewards import answer_of, gym_reward, math_reward, multiple_choice
from gdro.rewards.functions import RewardFunction, chosen

CHOICES = ("gpqa-diamond",)  # sets whose answers are letters


@dataclass(frozen=True)
class Options:
    """Sampling options.

    Attributes:
        samples: S, completions per problem.
        max_new_tokens: Longest completion, in tokens.
        temperature: Sampling temperature, above 0.
        top_p: Probability mass of nucleus sampling, in (0, 1].
        batch_size: Completions generated at once; samples depend on it through the random numbers.
        seed: Sampling seed.
        style: `chat` or `plain` prompts, see `gdro.data.prompts`.
        instruction: Text appended to each problem; recorded with the samples.
    """

    samples: int = 8
    max_new_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    batch_size: int = 64
    seed: int = 0
    style: str = "chat"
    instruction: str = ""

    def check(self) -> None:
        """Raise an EvaluationError that names the first option out of range."""
        bounds = {"samples": 1, "max_new_tokens": 1, "batch_size": 1, "seed": 0}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise EvaluationError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 < self.temperature < inf:
            raise EvaluationError(f"temperature is {self.temperature}; it must be above 0 and finite")
        if not 0 < self.top_p <= 1:
            raise EvaluationError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


class Generator(Protocol):
    """Completes prompts; implemented for servers, transformers and vLLM."""

    name: str

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each of P prompts once: text and number of tokens, shape (P,)."""
        ...


def evaluate(
    generator: Generator,
    sets: Mapping[str, Any],
    folder: Path,
    options: Options,
    progress: Callable[..., Any] | None = None,
) -> list[Record]:
    """Evaluate a model; the same call continues an interrupted evaluation with the same samples.

    Args:
        generator: Completes the prompts.
        sets: Datasets by name, with the columns of `gdro.data.load` and the prompts of
            `gdro.data.prompts`.
        folder: Output folder of the samples.
        options: Sampling options.
        progress: Wraps the list of remaining chunks, as tqdm does.

    Returns:
        One record per problem, in the order of the sets.

    Raises:
        EvaluationError: An option is out of range, the folder holds another evaluation, or the generator
            fails.
    """
    options.check()
    size = max(1, options.batch_size // options.samples)
    chunks = [(i, name, rows) for name in sets for i, rows in enumerate(_chunks(sets[name], size))]
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: len(table) for name, table in sets.items()}
    done = open_folder(folder, {"model": generator.name, "sets": sizes, **asdict(options)})
    records = {(record.set, record.prompt_id): record for record in done}
    left = [c for c in chunks if not all((c[1], row["prompt_id"]) in records for row in c[2])]
    # An incomplete chunk is sampled again as a whole: its random numbers are one stream.
    again = {(name, row["prompt_id"]) for _, name, rows in left for row in rows}
    records = {key: record for key, record in records.items() if key not in again}
    rewrite(folder, records.values())
    for number, name, rows in left if progress is None else progress(left):
        batch = _sampled(generator, name, rows, options, _seed(options.seed, name, number))
        append(folder, batch)
        records |= {(record.set, record.prompt_id): record for record in batch}
    return [records[name, row["prompt_id"]] for _, name, rows in chunks for row in rows]


def _chunks(table: Iterable[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    rows = list(table)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _seed(seed: int, name: str, number: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([seed, number, *name.encode()]).generate_state(1)[0])


def _sampled(
    generator: Generator, name: str, rows: Sequence[dict[str, Any]], options: Options, seed: int
) -> list[Record]:
    repeated = [row for row in rows for _ in range(options.samples)]
    completions = generator.generate([row["prompt"] for row in repeated], options, seed)
    if len(completions) != len(repeated):
        raise EvaluationError(
            f"{generator.name} returned {len(completions)} completions of {len(repeated)} prompts"
        )
    texts, tokens = [text for text, _ in completions], [number for _, number in completions]
    right = judged(name, repeated, texts)
    answers = [(chosen if name in CHOICES else answer_of)(text) for text in texts]
    records: list[Record] = []
    for i, row in enumerate(rows):
        part = slice(i * options.samples, (i + 1) * options.samples)
        labels = name, row["prompt_id"], row["source"], str(row.get("level", ""))
        record = Record(*labels, right[part], answers[part], tokens[part], texts[part])
        try:
            check(record)
        except ValueError as problem:
            raise EvaluationError(f"{generator.name} gave an odd completion: {problem}") from problem
        records.append(record)
    return records


@cache
def _gym() -> RewardFunction:
    """One worker pool for the whole process."""
    return gym_reward()


def judged(name: str, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[bool]:
    """Whether each text is right, by the reward that the set's answers need."""
    if "entry" in rows[0]:
        scores = _gym()(completions=texts, entry=[row["entry"] for row in rows])
        return [score >= 1.0 for score in scores]
    reward = multiple_choice() if name in CHOICES else math_reward()
    return [score == 1.0 for score in reward(completions=texts, answer=[row["answer"] for row in rows])]
