"""The pool and the held-out problems of one paired run, corrupted as its variant says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from gdro.errors import StudyError
from gdro.numerics.arrays import BoolArray, FloatArray
from gdro.problem import Problem
from gdro.study.decoder import Decoder
from gdro.study.grading import Grader
from gdro.study.testbed import Item, Testbed

K = 8  # the k of pass@k
_BASE_SAMPLES = 32
TAIL = 0.02
"""Base pass rate below which a prompt belongs to the tail."""
POOL_COLUMNS = ("difficulty", "level")
"""Columns of every pool: the static level of its problems, under two names."""
GRADES = ("work", "final")
_CHOICES = re.compile(r"final/([2-9])")
CLEAR = 0.06
"""Base pass rate above which a prompt is not in the tail; in between, 32 samples cannot tell."""


@dataclass
class Variant:
    """How answers are graded, and what is wrong with a pool.

    Args:
        grade: What is graded, in training and evaluation: the whole `work`, or like most verifiers the
            `final` answer alone, which can be right by luck. `final/4` grades it like multiple choice
            with four options: answers with the same remainder by 4 are one option.
        unsolvable: Share of training problems whose answer no rollout can give.
        wrong_labels: Share of training problems graded against a wrong answer.
        verifier_noise: Probability that a training reward is flipped.
        tail: Share of problems with a base pass rate below .02, in the pool and held out; None: as
            drawn.
        once: Whether every training problem is offered only once.
    """

    grade: str = "work"
    unsolvable: float = 0.0
    wrong_labels: float = 0.0
    verifier_noise: float = 0.0
    tail: float | None = None
    once: bool = False

    def __post_init__(self) -> None:
        if self.grade not in GRADES and not _CHOICES.fullmatch(self.grade):
            raise StudyError(
                f"variant.grade is {self.grade!r}; allowed: {', '.join(GRADES)}, or final/K with "
                "K from 2 to 9, like multiple choice with K options"
            )
        for name in ("unsolvable", "wrong_labels", "verifier_noise", "tail"):
            value = getattr(self, name) or 0.0
            if not 0.0 <= value < 1.0:
                raise StudyError(f"variant.{name} is {value}; allowed: 0 up to 1")
        if self.unsolvable + self.wrong_labels > 1.0:
            raise StudyError(
                f"variant.unsolvable is {self.unsolvable} and wrong_labels {self.wrong_labels}; a "
                "problem can be only one of the two, so their sum must be at most 1"
            )


@dataclass
class PoolSizes:
    """Numbers of training and held-out problems, and of samples in the last evaluation."""

    train: int = 1024
    heldout: int = 384
    samples: int = 16

    def __post_init__(self) -> None:
        for name, least, why in (
            ("train", 1, ""),
            ("heldout", 1, ""),
            ("samples", K, f", for pass@{K}"),
        ):
            size = getattr(self, name)
            if size < least:
                raise StudyError(f"sizes.{name} is {size}; it must be at least {least}{why}")


@dataclass(frozen=True)
class StudyTask:
    """A testbed, the variant of its pool, and how many problems are drawn."""

    testbed: Testbed
    variant: Variant
    sizes: PoolSizes = field(default_factory=PoolSizes)


@dataclass(frozen=True)
class World:
    """One paired run's problems; the same for every arm.

    Attributes:
        task: The testbed, variant and sizes that the problems were drawn for.
        problem: The pool, with columns `difficulty` (a static level) and `level`.
        prompt_NW: Prompts of training and then held-out problems, shape (N + H, W).
        answer_NG: Answers that the verifier accepts, shape (N + H, G).
        work_NG: The right work, whatever the verifier accepts, shape (N + H, G).
        grader: Compares answers the way the verifier does.
        spoilt_N: Training problems that are unsolvable or wrongly labelled, shape (N,).
        base_H: Pass rate of the warm start on each held-out problem, shape (H,).
    """

    task: StudyTask
    problem: Problem
    prompt_NW: torch.Tensor
    answer_NG: torch.Tensor
    work_NG: torch.Tensor
    grader: Grader
    spoilt_N: BoolArray
    base_H: FloatArray

    @property
    def num_train(self) -> int:
        """Number of training problems."""
        return self.problem.num_prompts


def grader_of(grade: str, final_tokens: int) -> Grader:
    """The grader of a testbed whose final answers have so many tokens.

    Raises:
        StudyError: Options are graded, and final answers have more than one token.
    """
    if grade == "work":
        return Grader()
    options = _CHOICES.fullmatch(grade)
    if options is None:
        return Grader(final_tokens)
    if final_tokens != 1:
        raise StudyError(
            f"variant.grade is {grade!r}, but final answers of this task have {final_tokens} tokens; "
            "options need one token (chains, arithmetic), so write grade: final"
        )
    return Grader(final_tokens, int(options[1]))


def make_world(task: StudyTask, model: Decoder, seed: int, num_train: int) -> World:
    """Draw the problems of a paired run; the warm start says how hard each of them is.

    Raises:
        StudyError: The task has too few problems, or too few with the requested base pass rate.
    """
    testbed, variant, num_heldout = task.testbed, task.variant, task.sizes.heldout
    rng = np.random.default_rng([seed, 11])
    grader = grader_of(variant.grade, testbed.final_tokens)
    wanted = num_train + num_heldout
    share = variant.tail
    drawn = wanted if share is None else 3 * wanted
    items = testbed.problems(rng, drawn)
    prompt = torch.from_numpy(testbed.encode([i.prompt for i in items], model.shape.prompt, left=True))
    answer = testbed.encode([i.answer for i in items], model.shape.answer, left=False)
    chosen = np.arange(wanted)
    if share is not None:
        rate = pass_rates(model, prompt, torch.from_numpy(answer), _BASE_SAMPLES, seed, grader)
        chosen = with_tail(rate < TAIL, rate > CLEAR, share, wanted, rng)
    items = [items[i] for i in chosen]
    prompt, accepted = prompt[chosen], answer[chosen]
    work = torch.from_numpy(accepted.copy())
    base = pass_rates(model, prompt[num_train:], work[num_train:], _BASE_SAMPLES, seed, grader)
    spoilt = _spoil(accepted[:num_train], variant, rng)
    problem = _problem(items[:num_train])
    return World(task, problem, prompt, torch.from_numpy(accepted), work, grader, spoilt, base)


def pass_rates(
    model: Decoder,
    prompt: torch.Tensor,
    answer: torch.Tensor,
    samples: int,
    seed: int,
    grader: Grader,
) -> FloatArray:
    """Share of right answers to each problem, shape (problems,)."""
    return successes(model, prompt, answer, samples, seed, grader) / samples


def successes(
    model: Decoder,
    prompt: torch.Tensor,
    answer: torch.Tensor,
    samples: int,
    seed: int,
    grader: Grader,
) -> npt.NDArray[np.int64]:
    """Right answers to each problem of `samples`, shape (problems,)."""
    generator = torch.Generator().manual_seed(1_000_003 + seed)
    right = []
    for start in range(0, len(prompt), 64):
        part = slice(start, start + 64)
        counts = torch.full((len(prompt[part]),), samples)
        rollouts = model.generate(prompt[part], counts, generator)
        given = rollouts.tokens_RT[:, model.shape.prompt :].view(-1, samples, model.shape.answer)
        right.append(grader.right(given, answer[part].unsqueeze(1).expand_as(given)).sum(1))
    return torch.cat(right).numpy()


def with_tail(
    hard: BoolArray, other: BoolArray, share: float, wanted: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of problems of which a given share is hard, in random order."""
    num_hard = round(share * wanted)
    chosen = []
    for kind, mask, need in (("hard", hard, num_hard), ("other", other, wanted - num_hard)):
        indices = np.flatnonzero(mask)
        if len(indices) < need:
            raise StudyError(
                f"variant.tail={share} needs {need} {kind} problems, but {len(hard)} draws gave "
                f"{len(indices)}; lower sizes.train or change the share"
            )
        chosen.append(indices[:need])
    return rng.permutation(np.concatenate(chosen))


def _spoil(answer_NG: npt.NDArray[np.int64], variant: Variant, rng: np.random.Generator) -> BoolArray:
    """Corrupt answers in place and return which, shape (N,); no rollout can give a negative token."""
    draw = rng.random(len(answer_NG))
    junk = draw < variant.unsolvable
    wrong = ~junk & (draw < variant.unsolvable + variant.wrong_labels)
    answer_NG[junk] = -1
    # Another problem's answer: plausible, and mostly wrong.
    answer_NG[wrong] = answer_NG[rng.permutation(len(answer_NG))[wrong]]
    return junk | wrong


def _problem(items: list[Item]) -> Problem:
    level = np.array([i.level for i in items])
    return Problem([i.prompt for i in items], columns=dict.fromkeys(POOL_COLUMNS, level))
