"""Records that pass between a trainer, the controller and a strategy: frozen, validated, numpy.

The last letters of a name say its axes: N prompts in the dataset, P prompts in a plan,
R rollouts of a plan (flat, ragged), B difficulty bins, A arms (rollout counts).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np

from gdro.errors import OutcomeError, RequestError
from gdro.numerics.arrays import BoolArray as BoolArray
from gdro.numerics.arrays import FloatArray as FloatArray
from gdro.numerics.arrays import IntArray as IntArray
from gdro.numerics.arrays import frozen as frozen
from gdro.numerics.arrays import integers
from gdro.problem import Problem as Problem

UNSEEN = -1
"""Bin of a prompt that was never scored."""

LARGEST = 1e18
"""Largest absolute value of a reward or loss: trainers square it in single precision."""

_MOST_TOKENS = 2**40  # of a row, so that sums over a run fit 64 bits


@dataclass(frozen=True, eq=False)
class Request:
    """What a trainer asks for: how many prompts and how many rollouts in total.

    Args:
        num_prompts: P, the number of prompts of the plan.
        num_rollouts: Total number of rollouts of the plan, which is met exactly.
        offered_P: Dataset indices that the trainer already chose, shape (P,), each at most once.
            Without it the strategy selects.

    Raises:
        RequestError: Counts are not positive, or `offered_P` is malformed.
    """

    num_prompts: int
    num_rollouts: int
    offered_P: IntArray | None = None

    def __post_init__(self) -> None:
        for name in ("num_prompts", "num_rollouts"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise RequestError(f"{name} is {value!r}, must be a whole number, at least 1")
        if self.offered_P is None:
            return
        offered_P = integers(self.offered_P, "offered_P", RequestError)
        if len(offered_P) != self.num_prompts:
            raise RequestError(
                f"offered_P has {len(offered_P)} prompts, num_prompts is {self.num_prompts}; "
                "they must agree"
            )
        values, counts = np.unique(offered_P, return_counts=True)
        if bool(np.any(counts > 1)):
            raise RequestError(
                f"offered_P holds prompt {values[counts > 1][0]} more than once; a plan takes each "
                "prompt at most once, so merge the duplicates first"
            )
        object.__setattr__(self, "offered_P", offered_P)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which prompts, and how many rollouts each.

    Attributes:
        ticket: Number of the plan; an `Outcome` refers to it.
        prompt_P: Dataset indices, shape (P,), each once.
        rollouts_P: Rollouts of each prompt, shape (P,); the sum is the requested total.
        bin_P: Difficulty bin of each prompt when the plan was made (-1: unseen), shape (P,).
        importance_P: Uniform probability over the probability that the prompt was drawn with, shape
            (P,); ones where prompts were offered or drawn uniformly.
        num_prompts: Number of prompts of the request: the first of `prompt_P`; those of extensions
            follow.
        num_rollouts: Number of rollouts of the request, which is the number of rows in the loss.
        first_P: Rollouts of each prompt when it entered the plan, shape (P,); `rollouts_P` also counts
            those that extensions added.
        mass_B: Probability of each bin for a drawn prompt when the plan was made, shape (B,).
    """

    ticket: int
    prompt_P: IntArray
    rollouts_P: IntArray
    bin_P: IntArray
    importance_P: FloatArray = field(default_factory=lambda: np.zeros(0))
    num_prompts: int = 0
    num_rollouts: int = 0
    first_P: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    mass_B: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.first_P):
            object.__setattr__(self, "first_P", self.rollouts_P)
        if not len(self.importance_P):
            object.__setattr__(self, "importance_P", frozen(np.ones(len(self.prompt_P)), np.float64))
        if not self.num_prompts:
            object.__setattr__(self, "num_prompts", len(self.prompt_P))
            object.__setattr__(self, "num_rollouts", int(self.rollouts_P.sum()))

    @property
    def extended(self) -> bool:
        """Whether an extension added rollouts."""
        return int(self.rollouts_P.sum()) > self.num_rollouts

    @property
    def prompt_R(self) -> IntArray:
        """Dataset index of each rollout, shape (R,): the prompts repeated in plan order."""
        return np.repeat(self.prompt_P, self.rollouts_P)


@dataclass(frozen=True, eq=False)
class Allocation:
    """Rollouts of prompts that are in no plan yet, each a group of its own.

    Attributes:
        group_P: Numbers of the groups, which `Controller.adopt` and `Controller.evict` take, shape (P,).
        prompt_P: Dataset index of each group's prompt, shape (P,); each once in one allocation.
        rollouts_P: Rollouts of each group, shape (P,); the sum is the requested total.
    """

    group_P: IntArray
    prompt_P: IntArray
    rollouts_P: IntArray


@dataclass(frozen=True, eq=False)
class Extension:
    """More rollouts for a plan, of its own prompts or of fresh ones.

    Attributes:
        ticket: The plan's ticket.
        round: 1 for the first extension of the plan.
        prompt_P: Dataset indices, shape (P,), each once.
        rollouts_P: Further rollouts of each, shape (P,).
        bin_P: Difficulty bin of each prompt as the plan holds it, shape (P,).
    """

    ticket: int
    round: int
    prompt_P: IntArray
    rollouts_P: IntArray
    bin_P: IntArray

    @property
    def prompt_R(self) -> IntArray:
        """Dataset index of each further rollout, shape (R,)."""
        return np.repeat(self.prompt_P, self.rollouts_P)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Scored rollouts of one plan, rows in any order.

    Args:
        ticket: The plan's ticket.
        prompt_R: Dataset index of each row, shape (R,).
        reward_R: Reward of each row, shape (R,), finite wherever `valid_R`.
        correct_R: Whether each row is right, shape (R,), booleans (or 0 and 1).
        tokens_R: Generated tokens of each row, shape (R,), for the ledger.
        valid_R: False where no reward could be given, shape (R,). Such rows are counted as spent
            and otherwise ignored. Default: all valid.
        judged_R: False where it is not known whether the row is right, shape (R,). Such rows train like
            any other but do not update beliefs. Rows without a reward are never judged. Default: as
            `valid_R`.
        sound_R: False where a check of the work found a mistake, shape (R,): such a success may be luck
            and is not remembered. Default: None, nothing was checked.

    Raises:
        OutcomeError: Lengths differ, a valid reward is NaN, infinite or above 1e18 in size, correctness
            is not boolean, or tokens are negative.
    """

    ticket: int
    prompt_R: IntArray
    reward_R: FloatArray
    correct_R: BoolArray
    tokens_R: IntArray | None = None
    valid_R: BoolArray | None = None
    judged_R: BoolArray | None = None
    sound_R: BoolArray | None = None

    def __post_init__(self) -> None:
        prompt_R = integers(self.prompt_R, "prompt_R", OutcomeError)
        valid = np.ones(len(prompt_R), bool) if self.valid_R is None else self.valid_R
        judged = valid if self.judged_R is None else self.judged_R
        tokens = None if self.tokens_R is None else integers(self.tokens_R, "tokens_R", OutcomeError)
        sound = None if self.sound_R is None else _booleans(self.sound_R, "sound_R")
        fields = {
            "prompt_R": prompt_R,
            "reward_R": frozen(self.reward_R, np.float64),
            "correct_R": _booleans(self.correct_R, "correct_R"),
            "tokens_R": tokens,
            "valid_R": _booleans(valid, "valid_R"),
            "judged_R": _booleans(judged, "judged_R"),
            "sound_R": sound,
        }
        for name, array in fields.items():
            if array is not None and array.shape != prompt_R.shape:
                raise OutcomeError(
                    f"{name} has shape {array.shape}, prompt_R has {prompt_R.shape}; "
                    "every row needs one value of each"
                )
            object.__setattr__(self, name, array)
        if not self.all_valid:
            object.__setattr__(
                self, "judged_R", frozen(self.judged_mask_R & self.valid_mask_R, np.bool_)
            )
        bad_R = ~(np.abs(self.reward_R) <= LARGEST) & self.valid_mask_R
        if bool(bad_R.any()):
            row = int(np.flatnonzero(bad_R)[0])
            raise OutcomeError(
                f"reward_R[{row}] of prompt {prompt_R[row]} is {self.reward_R[row]}; rewards must be "
                f"finite and at most {LARGEST:g} in size (mark rows without a reward in valid_R)"
            )
        if tokens is not None and not bool(((tokens >= 0) & (tokens < _MOST_TOKENS)).all()):
            raise OutcomeError(
                f"tokens_R spans {tokens.min()}..{tokens.max()}; allowed: 0 to {_MOST_TOKENS - 1} a row"
            )

    @property
    def valid_mask_R(self) -> BoolArray:
        """`valid_R`, never None."""
        assert self.valid_R is not None
        return self.valid_R

    @property
    def judged_mask_R(self) -> BoolArray:
        """`judged_R`, never None: True where it is known whether the row is right."""
        assert self.judged_R is not None
        return self.judged_R

    def joined(self, further: Outcome) -> Outcome:
        """These rows and those of an extension of the same ticket.

        Raises:
            OutcomeError: The tickets differ, or only one of the two counts tokens or checks the work.
        """
        pairs = {name: (getattr(self, name), getattr(further, name)) for name in _ROWS}
        if further.ticket != self.ticket or any((a is None) != (b is None) for a, b in pairs.values()):
            raise OutcomeError(
                f"outcomes of tickets {self.ticket} and {further.ticket} cannot be joined; join rows of "
                "one ticket, with tokens_R in both or neither, and sound_R likewise"
            )
        rows = {k: None if a is None else np.concatenate([a, b]) for k, (a, b) in pairs.items()}
        return Outcome(self.ticket, **rows)  # pyright: ignore[reportArgumentType]  # arrays by field

    @cached_property
    def all_valid(self) -> bool:
        """Whether every row has a reward."""
        return bool(self.valid_mask_R.all())

    @cached_property
    def all_judged(self) -> bool:
        """Whether every row is judged."""
        return bool(self.judged_mask_R.all())


_ROWS = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R", "judged_R", "sound_R")


def _booleans(values: Any, name: str) -> BoolArray:
    array = np.asarray(values)
    if array.dtype != np.bool_ and not bool(np.isin(array, (0, 1)).all()):
        raise OutcomeError(
            f"{name} holds {array[~np.isin(array, (0, 1))].flat[0]!r}; it must be boolean "
            "(threshold the reward, e.g. reward > 0.5)"
        )
    return frozen(array, np.bool_)


Correction = Literal["none", "decoupled", "clipped"]


class Recall(NamedTuple):
    """A remembered rollout that should join the loss.

    Attributes:
        prompt: Dataset index of the rollout's prompt.
        kind: `replay` joins the prompt's group of this step, with an ordinary advantage; `anchor`
            stands alone with a fixed one; `group` asks for all stored rollouts of the prompt, which
            stand alone, and join together or not at all.
        advantage: The fixed advantage of an anchor; None: that of its own step.
        weight: Factor on the advantages of a replay and of the group that it joins.
        slot: Which of the prompt's stored rollouts, by ascending reward from 0.
    """

    prompt: int
    kind: Literal["replay", "anchor", "group"]
    advantage: float | None = None
    weight: float = 1.0
    slot: int = 0


@dataclass(frozen=True, eq=False)
class Weights:
    """What to do with each row of an outcome.

    Attributes:
        weight_R: Factor on the row's advantage, shape (R,), aligned with the outcome's rows.
        keep_R: False drops the row from the loss, shape (R,).
        baseline: Rows of a group over which the mean and deviation of advantages are taken: the
            `kept` ones, or `all` that were scored.
        remember_R: Rows to remember for later steps, shape (R,); None: none.
        recall: Remembered rollouts to bring back, in order of priority; an adapter replaces rows without
            a gradient by them, and leaves out those for which there is no room.
        most_anchors: Most anchors of `recall` that join.
        anchor_pick: Which anchors join: `random` takes the first of `recall` that have a stored rollout,
            in the order that the strategy drew; `least` the least likely ones under the current policy.
        scale: What centred rewards are divided by before `weight_R` multiplies them: the deviation that
            the `trainer` takes, or `none`. The controller sets it from `Strategy.unscaled`.
        remember: What takes the place of a prompt's stored rollouts: the `latest` of its rows to
            remember, or the `group` of all of them.
        correction: How recalled rows are corrected for the policy that generated them: `none` takes the
            current policy for it, `decoupled` multiplies each token by the ratio of the current policy's
            probability to that policy's, `clipped` clips the ratio against that policy.
    """

    weight_R: FloatArray
    keep_R: BoolArray
    baseline: Literal["kept", "all"] = "kept"
    remember_R: BoolArray | None = None
    recall: tuple[Recall, ...] = ()
    most_anchors: int = 0
    anchor_pick: Literal["random", "least"] = "random"
    scale: Literal["trainer", "none"] = "trainer"
    remember: Literal["latest", "group"] = "latest"
    correction: Correction = "none"
