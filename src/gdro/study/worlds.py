"""The pool and the held-out problems of one paired run, corrupted as its variant says."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch

from gdro.errors import StudyError
from gdro.numerics.arrays import BoolArray, FloatArray
from gdro.problem import Problem
from gdro.study.decoder import Decoder
from gdro.study.grading import Grader, grader_of
from gdro.study.testbed import POOL_COLUMNS, Item, Testbed, levels_of
from gdro.study.training import PoolSizes
from gdro.study.variant import Variant

_BASE_SAMPLES = 32
TAIL = 0.02
"""Base pass rate below which a prompt belongs to the tail."""
CLEAR = 0.06
"""Base pass rate above which a prompt is not in the tail; in between, 32 samples cannot tell."""


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
        spoilt_N: Training problems that are unsolvable, wrongly labelled or refused, shape (N,).
        base_H: Pass rate of the warm start on each held-out problem, shape (H,).
        level_H: Static level of each held-out problem, shape (H,).
    """

    task: StudyTask
    problem: Problem
    prompt_NW: torch.Tensor
    answer_NG: torch.Tensor
    work_NG: torch.Tensor
    grader: Grader
    spoilt_N: BoolArray
    base_H: FloatArray
    level_H: FloatArray

    @property
    def num_train(self) -> int:
        """Number of training problems."""
        return self.problem.num_prompts


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
    items = testbed.problems(rng, wanted if share is None else 3 * wanted)
    if variant.sources is not None:
        items = _by_level(testbed, items, variant.sources, (num_train, num_heldout), rng)
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
    problem, level = _problem(items[:num_train]), np.array([i.level for i in items[num_train:]])
    return World(task, problem, prompt, torch.from_numpy(accepted), work, grader, spoilt, base, level)


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


def _by_level(
    testbed: Testbed,
    items: list[Item],
    shares: list[float],
    sizes: tuple[int, int],
    rng: np.random.Generator,
) -> list[Item]:
    """Training problems with the given shares of the task's levels, then held-out ones in equal shares.

    Raises:
        StudyError: The task has another number of levels, or too few problems of one.
    """
    levels = levels_of(items, shares)
    need = [_split(shares, sizes[0]), _split([1.0 / len(levels)] * len(levels), sizes[1])]
    total = {level: int(train + held) for level, train, held in zip(levels, *need, strict=True)}
    problems: dict[float, dict[str, Item]] = {level: {} for level in levels}
    missing = sum(total.values())
    further = (testbed.draw(rng) for _ in range(50 * missing))
    for item in chain(items, further):
        if not missing:
            break
        own = problems[item.level]
        if len(own) < total[item.level] and item.prompt not in own:
            own[item.prompt] = item
            missing -= 1
    pools = {level: list(of.values()) for level, of in problems.items()}
    for level, pool in pools.items():
        if len(pool) < total[level]:
            raise StudyError(
                f"variant.sources needs {total[level]} problems of level {level:g}, but the task has "
                f"hardly more than {len(pool)}; lower that share or sizes.train"
            )
    train = [item for level, n in zip(levels, need[0], strict=True) for item in pools[level][:n]]
    held = [item for level, n in zip(levels, need[0], strict=True) for item in pools[level][n:]]
    return [part[i] for part in (train, held) for i in rng.permutation(len(part))]


def _split(shares: list[float], num: int) -> npt.NDArray[np.int64]:
    """Whole numbers near `shares * num` that add up to `num`."""
    edges = np.round(np.cumsum([0.0, *shares]) * num).astype(np.int64)
    return np.diff(edges)


def _spoil(answer_NG: npt.NDArray[np.int64], variant: Variant, rng: np.random.Generator) -> BoolArray:
    """Corrupt answers in place and return which, shape (N,); no rollout can give a negative token."""
    draw = rng.random(len(answer_NG))
    never = variant.unsolvable + variant.refused
    junk = draw < never
    wrong = ~junk & (draw < never + variant.wrong_labels)
    answer_NG[junk] = -1
    # Another problem's answer: plausible, and mostly wrong.
    answer_NG[wrong] = answer_NG[rng.permutation(len(answer_NG))[wrong]]
    return junk | wrong


def _problem(items: list[Item]) -> Problem:
    level = np.array([i.level for i in items])
    prompts = [i.prompt for i in items]
    return Problem(prompts, columns=dict.fromkeys(POOL_COLUMNS, level), texts=prompts)
