"""Sample every problem of every set, and judge the samples."""

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
    """How to sample.

    Attributes:
        samples: S, completions a problem.
        max_new_tokens: Longest completion.
        temperature: Of the sampling.
        top_p: Of the sampling.
        batch_size: Completions generated at once; it orders the random numbers, so samples depend on it.
        seed: Of the sampling.
        style: `chat` or `plain` prompts, see `gdro.data.prompts`.
        instruction: Below each problem.
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
            raise EvaluationError(f"temperature is {self.temperature}; it must be above 0, and finite")
        if not 0 < self.top_p <= 1:
            raise EvaluationError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


class Generator(Protocol):
    """What completes prompts."""

    name: str

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each prompt once: text and number of tokens, shape (P,)."""
        ...


def evaluate(
    generator: Generator,
    sets: Mapping[str, Any],
    folder: Path,
    options: Options,
    progress: Callable[..., Any] | None = None,
) -> list[Record]:
    """Evaluate a model; the same call goes on after a kill, with the same samples.

    Args:
        generator: The model.
        sets: By name, with the columns of `gdro.data.load` and prompts made by `gdro.data.prompts`.
        folder: Where samples are kept.
        options: How to sample.
        progress: Wraps the chunks that are left, as tqdm does.

    Returns:
        A record each problem, in the order of the sets.

    Raises:
        EvaluationError: An option is out of range, or the folder holds another evaluation.
    """
    options.check()
    chunks = [
        (number, name, rows) for name, table in sets.items()
        for number, rows in enumerate(_chunks(table, max(1, options.batch_size // options.samples)))
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: len(table) for name, table in sets.items()}
    done = open_folder(folder, {"model": generator.name, "sets": sizes, **asdict(options)})
    found = {(record.set, record.prompt_id): record for record in done}
    left = [
        chunk for chunk in chunks if not all((chunk[1], row["prompt_id"]) in found for row in chunk[2])
    ]
    # A chunk that was cut is sampled anew as a whole: its random numbers are one stream.
    again = {(name, row["prompt_id"]) for _, name, rows in left for row in rows}
    found = {key: record for key, record in found.items() if key not in again}
    rewrite(folder, found.values())
    for number, name, rows in left if progress is None else progress(left):
        made = _sampled(generator, name, rows, options, _seed(options.seed, name, number))
        append(folder, made)
        found.update({(record.set, record.prompt_id): record for record in made})
    return [found[name, row["prompt_id"]] for _, name, rows in chunks for row in rows]


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
    made = generator.generate([row["prompt"] for row in repeated], options, seed)
    if len(made) != len(repeated):
        raise EvaluationError(f"{len(made)} completions of {len(repeated)} prompts came back")
    texts, tokens = [text for text, _ in made], [number for _, number in made]
    right = judged(name, repeated, texts)
    find = chosen if name in CHOICES else answer_of
    records = [
        Record(
            set=name, prompt_id=row["prompt_id"], source=row["source"], level=str(row.get("level", "")),
            right=right[part], answers=[find(text) for text in texts[part]], tokens=tokens[part],
            texts=texts[part],
        )
        for i, row in enumerate(rows)
        for part in [slice(i * options.samples, (i + 1) * options.samples)]
    ]  # fmt: skip
    try:
        for record in records:
            check(record)
    except ValueError as problem:
        raise EvaluationError(f"{generator.name} completed a prompt oddly: {problem}") from problem
    return records


@cache
def _gym() -> RewardFunction:
    """One pool of workers for the whole process."""
    return gym_reward()


def judged(name: str, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[bool]:
    """Whether each text is right, by the reward that the set's answers need."""
    if "entry" in rows[0]:
        scores = _gym()(completions=texts, entry=[row["entry"] for row in rows])
        return [score >= 1.0 for score in scores]
    reward = multiple_choice() if name in CHOICES else math_reward()
    return [score == 1.0 for score in reward(completions=texts, answer=[row["answer"] for row in rows])]
