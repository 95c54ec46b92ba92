"""Terse few-shot tasks: prompts whose answers are one word or one small number.

A 135M-parameter model solves some of them always, some never and the rest sometimes, which is the
spread of difficulty that group-relative training needs. Rows have `prompt`, `answer`, `prompt_id` and
`kind`. Rows from reasoning-gym are scored like the others, by an exact match of the first line, not by
reasoning-gym's own scorer, which gives partial credit for long text.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gdro.tasks._terse_items import GENERATORS, Item

Row = dict[str, str]

SHOTS = 2
MAX_ANSWER_CHARS = 5
MAX_QUESTION_CHARS = 22
GYM_KINDS = ("basic_arithmetic", "number_sequence")

_POOL_DRAWS = 600
_HELDOUT_ONE_IN = 5
# Sizes that keep prompts and answers short; any other family runs at its own defaults.
_GYM_SETTINGS: dict[str, dict[str, Any]] = {
    "basic_arithmetic": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "number_sequence": {"min_terms": 4, "max_terms": 4, "max_complexity": 1},
    "spell_backward": {"min_word_len": 3, "max_word_len": 3},
}


def first_line_match(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """Score completions by an exact match of their first line (a reward function for TRL).

    Args:
        completions: Generated texts, one per rollout.
        answer: Expected answers, one per rollout.
        **_: Other dataset columns that TRL passes; ignored.

    Returns:
        1.0 where the first line, stripped of white space, equals the answer, else 0.0.

    >>> first_line_match([" sun\\nmoon", " Sun", "\\nsun"], ["sun", "sun", "sun"])
    [1.0, 0.0, 0.0]
    """
    pairs = zip(completions, answer, strict=True)
    return [float(text.split("\n", 1)[0].strip() == expected) for text, expected in pairs]


def make_rows(
    seed: int = 0,
    train_size: int = 512,
    heldout_size: int = 64,
    reasoning_gym: Sequence[str] = GYM_KINDS,
) -> tuple[list[Row], list[Row]]:
    """Make the training and held-out rows, with equal shares of the kinds.

    The hash of a question decides between training and held-out, whatever the seed, so no held-out
    question is ever asked or shown as an example in training. A question may occur several times with
    different examples: prompts are unique, questions need not be.

    Args:
        seed: Seed of every random draw.
        train_size: Number of training rows.
        heldout_size: Number of held-out rows.
        reasoning_gym: Names of reasoning-gym data sets to mix in; empty for none.

    Returns:
        Training rows and held-out rows, each in random order.

    Raises:
        ImportError: If reasoning-gym is needed and not installed.
        ValueError: If a kind has too few short questions for the sizes.
    """
    pools = {kind: _pool(kind, seed) for kind in GENERATORS}
    pools |= {f"gym_{name}": _gym_pool(name, seed) for name in reasoning_gym}
    train = _rows(pools, train_size, False, random.Random(f"train {seed}"))
    heldout = _rows(pools, heldout_size, True, random.Random(f"heldout {seed}"))
    return train, heldout


def _pool(kind: str, seed: int) -> list[Item]:
    rng = random.Random(f"{kind} {seed}")
    return sorted(dict(GENERATORS[kind](rng) for _ in range(_POOL_DRAWS)).items())


def _gym_pool(name: str, seed: int) -> list[Item]:
    try:
        import reasoning_gym
    except ImportError as error:
        raise ImportError("reasoning-gym is missing: pip install 'gdro[lm]'") from error
    settings = _GYM_SETTINGS.get(name, {})
    entries = reasoning_gym.create_dataset(name, seed=seed, size=_POOL_DRAWS, **settings)
    items = {_one_line(entry["question"]): entry["answer"] for entry in entries}
    return sorted((q, a) for q, a in items.items() if _is_short(q, a))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_short(question: str, answer: str | None) -> bool:
    # Some families have no fixed answer (None), only a scorer; these cannot be matched.
    return bool(answer) and len(answer) <= MAX_ANSWER_CHARS and len(question) <= MAX_QUESTION_CHARS


def _is_heldout(question: str) -> bool:
    return int(_digest(question), 16) % _HELDOUT_ONE_IN == 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _rows(
    pools: Mapping[str, Sequence[Item]], size: int, heldout: bool, rng: random.Random
) -> list[Row]:
    kinds = sorted(pools)
    rows: dict[str, Row] = {}
    for index in range(size):
        kind = kinds[index % len(kinds)]
        row = _new_row(kind, pools[kind], heldout, rng, rows)
        rows[row["prompt"]] = row
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    return shuffled


def _new_row(
    kind: str, pool: Sequence[Item], heldout: bool, rng: random.Random, taken: Mapping[str, Row]
) -> Row:
    asked = [item for item in pool if _is_heldout(item[0]) == heldout]
    shown = [item for item in pool if not _is_heldout(item[0])]
    if not asked or len(shown) <= SHOTS:
        raise ValueError(
            f"{kind!r} has too few short questions: {len(pool)}; drop it from reasoning_gym"
        )
    for _ in range(100):
        question, answer = rng.choice(asked)
        examples = [item for item in rng.sample(shown, SHOTS + 1) if item[0] != question][:SHOTS]
        lines = [f"{example} -> {result}\n" for example, result in examples]
        prompt = "".join(lines) + f"{question} ->"
        if prompt not in taken:
            prompt_id = f"{kind}-{_digest(prompt)}"
            return {"prompt": prompt, "answer": answer, "prompt_id": prompt_id, "kind": kind}
    raise ValueError(f"{kind!r} has too few prompts; lower train_size or heldout_size")
