"""Sample completions for every problem of every set, and grade them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Protocol

from gdro.evaluation.records import (
    REFUSED,
    Completion,
    EvaluationError,
    Record,
    append,
    check,
    gold_hash,
    open_folder,
    prompt_hash,
    rewrite,
)
from gdro.rewards import answer_of, gym_reward, math_reward, multiple_choice
from gdro.rewards.choices import chosen
from gdro.rewards.functions import RewardFunction

CHOICES = ("gpqa-diamond",)  # sets whose answers are letters


@dataclass(frozen=True)
class Options:
    """Sampling options.

    Attributes:
        samples: S, completions per problem.
        max_new_tokens: Longest completion, in tokens.
        temperature: Sampling temperature; 0 is greedy decoding, of one sample.
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
        if not 0 <= self.temperature < inf:
            raise EvaluationError(f"temperature is {self.temperature}; it must be at least 0 and finite")
        if self.temperature == 0 and self.samples > 1:
            raise EvaluationError(
                f"temperature is 0 (greedy decoding), so that all {self.samples} samples of a problem "
                "would be equal; set samples to 1 (--samples 1), or a temperature above 0"
            )
        if not 0 < self.top_p <= 1:
            raise EvaluationError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


class Generator(Protocol):
    """Completes prompts; implemented for servers, transformers and vLLM."""

    name: str

    def generate(
        self, prompts: Sequence[Any], options: Options, seed: int
    ) -> Sequence[Completion | tuple[str, int | None]]:
        """Complete each of P prompts once, shape (P,)."""
        ...


def evaluate(
    generator: Generator,
    sets: Mapping[str, Any],
    folder: Path,
    options: Options,
    progress: Callable[..., Any] | None = None,
) -> list[Record]:
    """Evaluate a model; the same call continues an interrupted evaluation with the same samples.

    Samples of a problem whose right answer changed are judged again; a problem whose prompt changed is
    sampled again, with its batch; samples of problems that are gone are deleted.

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
        EvaluationError: An option is out of range, the folder holds another evaluation, the generator
            fails, or the server refuses every prompt.
    """
    options.check()
    size = max(1, options.batch_size // options.samples)
    chunks = [(i, name, rows) for name in sets for i, rows in enumerate(_chunks(sets[name], size))]
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: len(table) for name, table in sets.items()}
    done = open_folder(folder, {"model": generator.name, "sets": sizes, **asdict(options)})
    problems = {(name, row["prompt_id"]): row for _, name, rows in chunks for row in rows}
    records = {record.key: record for record in _current(done, problems)}
    left = [c for c in chunks if not all((c[1], row["prompt_id"]) in records for row in c[2])]
    # An incomplete chunk is sampled again as a whole: its random numbers are one stream.
    again = {(name, row["prompt_id"]) for _, name, rows in left for row in rows}
    records = {key: record for key, record in records.items() if key not in again}
    rewrite(folder, records.values())
    for number, name, rows in left if progress is None else progress(left):
        batch = _sampled(generator, name, rows, options, _seed(options.seed, name, number))
        append(folder, batch)
        records |= {record.key: record for record in batch}
    reasons = [ending for record in records.values() for ending in record.endings or [""]]
    if reasons and all(reason.startswith(REFUSED) for reason in reasons):
        rewrite(folder, [])
        raise EvaluationError(
            f"{generator.name}: every prompt was {reasons[0]}; lower --max-new-tokens, or serve a "
            "longer context"
        )
    return [records[name, row["prompt_id"]] for _, name, rows in chunks for row in rows]


def _current(
    records: Iterable[Record], problems: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[Record]:
    """Records of the problems as they are now; those with another right answer are judged again."""
    current: list[Record] = []
    for record in records:
        row = problems.get(record.key)
        if row is None or record.prompt_hash not in ("", prompt_hash(row)):
            continue
        if record.gold_hash != gold_hash(row):
            record = _graded(record.set, [row], [record])[0]
        current.append(replace(record, **_labels(row), prompt_hash=prompt_hash(row)))
    return current


def _labels(row: Mapping[str, Any]) -> dict[str, str]:
    """Source and level of a problem; no level is an empty text."""
    level = row.get("level")
    return {"source": row["source"], "level": "" if level is None or level != level else str(level)}


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
    answers = [Completion(c[0], c[1], *c[2:]) for c in completions]
    records: list[Record] = []
    for i, row in enumerate(rows):
        part = answers[i * options.samples : (i + 1) * options.samples]
        record = Record(
            set=name,
            prompt_id=row["prompt_id"],
            **_labels(row),
            right=[False] * len(part),
            answers=[None] * len(part),
            tokens=[completion.tokens for completion in part],
            texts=[completion.text for completion in part],
            endings=[completion.ending for completion in part],
            prompt_hash=prompt_hash(row),
        )
        try:
            check(record)
        except ValueError as problem:
            raise EvaluationError(f"{generator.name} gave an odd completion: {problem}") from problem
        records.append(record)
    return _graded(name, rows, records)


def _graded(name: str, rows: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> list[Record]:
    """Records with their samples judged by the problems' right answers."""
    pairs = list(zip(rows, records, strict=True))
    texts = [text for _, record in pairs for text in record.texts]
    right = iter(judged(name, [row for row, record in pairs for _ in record.texts], texts))
    return [
        replace(
            record,
            right=[next(right) for _ in record.texts],
            answers=[_answer(name, row, text) for text in record.texts],
            gold_hash=gold_hash(row),
        )
        for row, record in pairs
    ]


@cache
def _gym() -> RewardFunction:
    """One worker pool for the whole process."""
    return gym_reward()


def judged(name: str, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[bool]:
    """Whether each text is right, by the reward that the set's answers need."""
    if "entry" in rows[0]:
        scores = _gym()(completions=texts, entry=[row["entry"] for row in rows])
        return [score >= 1.0 for score in scores]
    if all(letters := [_letters(name, row) for row in rows]):
        rewards = [_letter_reward(some) for some in letters]
        parts = zip(rewards, texts, rows, strict=True)
        return [
            reward(completions=[text], answer=[row["answer"]]) == [1.0] for reward, text, row in parts
        ]
    scores = math_reward()(completions=texts, answer=[row["answer"] for row in rows])
    return [score == 1.0 for score in scores]


@cache
def _letter_reward(letters: str) -> RewardFunction:
    return multiple_choice(choices=letters)


def _answer(name: str, row: Mapping[str, Any], text: str) -> str | None:
    """The answer in a text, a letter where the problem has choices."""
    letters = _letters(name, row)
    return chosen(text, letters) if letters else answer_of(text)


def _letters(name: str, row: Mapping[str, Any]) -> str:
    """The letters that may be chosen, empty where an answer is no letter."""
    return "ABCD" if name in CHOICES else ascii_uppercase[: row.get("choices") or 0]
