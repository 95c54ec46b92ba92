"""Records that pass between a trainer, the controller and a strategy: frozen, validated, numpy.

The last letters of a name say its axes: N prompts in the dataset, P prompts in a plan,
R rollouts of a plan (flat, ragged), B difficulty bins, A arms (rollout counts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gdro.errors import OutcomeError, ProblemError, RequestError
from gdro.keys import hash_keys

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

UNSEEN = -1
"""Bin of a prompt that was never scored."""


def frozen(values: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a read-only copy of `values` as `dtype`."""
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _integers(values: Any, name: str, error: type[Exception]) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise error(
            f"{name} must be a 1-D array of integers, got shape {array.shape} and dtype "
            f"{array.dtype}; pass dataset indices, e.g. np.array([4, 0, 7])"
        )
    return frozen(array, np.int64)


@dataclass(frozen=True, eq=False)
class Problem:
    """The pool of prompts that a controller serves.

    Args:
        prompt_keys: N stable, distinct strings. They identify a prompt across runs, so take a
            dataset column or a hash of the text, never a position.
        prior_N: Known pass rate of each prompt in [0, 1] (NaN: unknown), shape (N,), for instance
            from an earlier run. Prompts with a prior start in a bin instead of as unseen.
        columns: What else is known of each prompt, by name, shape (N,) each: numbers (a difficulty)
            or strings (a topic). Strategies and bins that need one name it.

    Raises:
        ProblemError: Keys are missing, not strings or not distinct, a prior is out of range, or a
            column has another length or missing numbers.
    """

    prompt_keys: Sequence[str]
    prior_N: FloatArray | None = None
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        given: Sequence[Any] = self.prompt_keys
        if not len(given):
            raise ProblemError("prompt_keys is empty; a pool needs at least one prompt")
        bad = next(((i, k) for i, k in enumerate(given) if not isinstance(k, str) or not k), None)
        if bad is not None:
            raise ProblemError(
                f"prompt_keys[{bad[0]}] is {bad[1]!r}; every key must be a non-empty string "
                "(convert numbers with str, and fill missing values)"
            )
        keys = tuple(str(key) for key in given)  # numpy's strings become Python's
        if len(set(keys)) != len(keys):
            seen: set[str] = set()
            twice = next(k for k in keys if k in seen or seen.add(k))
            raise ProblemError(
                f"prompt key {twice!r} appears more than once in {len(keys)} keys; keys must be "
                "distinct, so drop duplicate rows or choose another id column"
            )
        object.__setattr__(self, "prompt_keys", keys)
        if self.prior_N is not None:
            object.__setattr__(self, "prior_N", _checked_prior(self.prior_N, len(keys)))
        columns = {name: _checked_column(name, c, len(keys)) for name, c in self.columns.items()}
        object.__setattr__(self, "columns", columns)

    def column(self, name: str, needed_by: str) -> npt.NDArray[Any]:
        """A column, shape (N,).

        Args:
            name: Its name.
            needed_by: Who asks, for the error.

        Raises:
            ProblemError: There is no such column.
        """
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "none"
            raise ProblemError(
                f"{needed_by} needs the column {name!r} of the prompts, the pool has {known}; add it to "
                f"the dataset, or pass Problem(..., columns={{{name!r}: values}})"
            )
        return self.columns[name]

    @property
    def num_prompts(self) -> int:
        """N, the number of prompts in the pool."""
        return len(self.prompt_keys)

    @cached_property
    def key_hash_N(self) -> npt.NDArray[np.uint64]:
        """64-bit hashes of the keys, shape (N,), stable across processes and versions."""
        return hash_keys(self.prompt_keys)


def _checked_column(name: str, values: Any, num_prompts: int) -> npt.NDArray[Any]:
    column = np.array(values)
    if column.shape != (num_prompts,) or column.dtype.kind not in "biufU":
        raise ProblemError(
            f"column {name!r} has shape {column.shape} and dtype {column.dtype}; it needs one number or "
            f"string for each of {num_prompts} prompts"
        )
    if column.dtype.kind == "f" and not bool(np.isfinite(column).all()):
        raise ProblemError(
            f"column {name!r} holds values that are not finite; fill them before training"
        )
    column.flags.writeable = False
    return column


def _checked_prior(prior: Any, num_prompts: int) -> FloatArray:
    prior_N: FloatArray = frozen(prior, np.float64)
    if prior_N.shape != (num_prompts,):
        raise ProblemError(f"prior_N has shape {prior_N.shape}, needs ({num_prompts},)")
    if bool(np.any((prior_N < 0) | (prior_N > 1))):
        raise ProblemError("prior_N must lie in [0, 1] (NaN where unknown); pass rates, not counts")
    return prior_N


@dataclass(frozen=True, eq=False)
class Request:
    """What a trainer asks for: how many prompts and how many rollouts in total.

    Args:
        num_prompts: P, the prompts of the plan.
        num_rollouts: Total rollouts of the plan; it is met exactly.
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
            if int(getattr(self, name)) < 1:
                raise RequestError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.offered_P is None:
            return
        offered_P = _integers(self.offered_P, "offered_P", RequestError)
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
        num_prompts: Prompts that were asked for: the first of `prompt_P`; those of extensions follow.
        num_rollouts: Rollouts that were asked for, which is the number of rows in the loss.
    """

    ticket: int
    prompt_P: IntArray
    rollouts_P: IntArray
    bin_P: IntArray
    importance_P: FloatArray = field(default_factory=lambda: np.zeros(0))
    num_prompts: int = 0
    num_rollouts: int = 0

    def __post_init__(self) -> None:
        if not len(self.importance_P):
            object.__setattr__(self, "importance_P", frozen(np.ones(len(self.prompt_P)), np.float64))
        if not self.num_prompts:
            object.__setattr__(self, "num_prompts", len(self.prompt_P))
            object.__setattr__(self, "num_rollouts", int(self.rollouts_P.sum()))

    @property
    def extended(self) -> bool:
        """Whether further rollouts were asked for."""
        return int(self.rollouts_P.sum()) > self.num_rollouts

    @property
    def prompt_R(self) -> IntArray:
        """Dataset index of each rollout, shape (R,): the prompts repeated in plan order."""
        return np.repeat(self.prompt_P, self.rollouts_P)


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
        tokens_R: Generated tokens of each row, shape (R,); for the ledger.
        valid_R: False where no reward could be given (shape (R,)). Such rows are counted as spent
            and otherwise ignored. Default: all valid.

    Raises:
        OutcomeError: Lengths differ, a valid reward is NaN or infinite, correctness is not boolean.
    """

    ticket: int
    prompt_R: IntArray
    reward_R: FloatArray
    correct_R: BoolArray
    tokens_R: IntArray | None = None
    valid_R: BoolArray | None = None

    def __post_init__(self) -> None:
        prompt_R = _integers(self.prompt_R, "prompt_R", OutcomeError)
        valid = np.ones(len(prompt_R), bool) if self.valid_R is None else self.valid_R
        tokens = None if self.tokens_R is None else _integers(self.tokens_R, "tokens_R", OutcomeError)
        fields = {
            "prompt_R": prompt_R,
            "reward_R": frozen(self.reward_R, np.float64),
            "correct_R": _booleans(self.correct_R, "correct_R"),
            "tokens_R": tokens,
            "valid_R": _booleans(valid, "valid_R"),
        }
        for name, array in fields.items():
            if array is not None and array.shape != prompt_R.shape:
                raise OutcomeError(
                    f"{name} has shape {array.shape}, prompt_R has {prompt_R.shape}; "
                    "every row needs one value of each"
                )
            object.__setattr__(self, name, array)
        bad_R = ~np.isfinite(self.reward_R) & self.valid_mask_R
        if bool(bad_R.any()):
            row = int(np.flatnonzero(bad_R)[0])
            raise OutcomeError(
                f"reward_R[{row}] of prompt {prompt_R[row]} is {self.reward_R[row]}; rewards must be "
                "finite (mark rows without a reward in valid_R)"
            )

    @property
    def valid_mask_R(self) -> BoolArray:
        """`valid_R`, never None."""
        assert self.valid_R is not None
        return self.valid_R

    def joined(self, further: Outcome) -> Outcome:
        """These rows and those of an extension of the same ticket.

        Raises:
            OutcomeError: The tickets differ, or only one of the two counts tokens.
        """
        if further.ticket != self.ticket or (self.tokens_R is None) != (further.tokens_R is None):
            raise OutcomeError(
                f"outcomes of tickets {self.ticket} and {further.ticket} cannot be joined; join rows of "
                "one ticket, with tokens_R in both or neither"
            )
        pairs = {name: (getattr(self, name), getattr(further, name)) for name in _ROWS}
        rows = {k: None if a is None else np.concatenate([a, b]) for k, (a, b) in pairs.items()}
        return Outcome(self.ticket, **rows)  # pyright: ignore[reportArgumentType]  # arrays by field

    @cached_property
    def all_valid(self) -> bool:
        """Whether every row has a reward."""
        return bool(self.valid_mask_R.all())


_ROWS = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R")


def _booleans(values: Any, name: str) -> BoolArray:
    array = np.asarray(values)
    if array.dtype != np.bool_ and not bool(np.isin(array, (0, 1)).all()):
        raise OutcomeError(
            f"{name} holds {array[~np.isin(array, (0, 1))].flat[0]!r}; it must be boolean "
            "(threshold the reward, e.g. reward > 0.5)"
        )
    return frozen(array, np.bool_)


@dataclass(frozen=True)
class Recall:
    """A remembered rollout that should join the loss.

    Attributes:
        prompt: Dataset index of its prompt.
        kind: `replay` joins the prompt's group of this step, with an ordinary advantage; `anchor`
            stands alone with a fixed one.
        advantage: The fixed advantage of an anchor.
    """

    prompt: int
    kind: Literal["replay", "anchor"]
    advantage: float | None = None


@dataclass(frozen=True, eq=False)
class Weights:
    """What to do with each row of an outcome.

    Attributes:
        weight_R: Factor on the row's advantage, shape (R,), aligned with the outcome's rows.
        keep_R: False drops the row from the loss, shape (R,).
        baseline: Over which of a group's rows the mean and deviation of advantages are taken: those
            `kept`, or `all` that were scored.
        remember_R: Rows worth remembering for later steps, shape (R,); None: none.
        recall: Remembered rollouts to bring back, the most wanted first; an adapter puts them in
            the place of rows without gradient, and leaves out those that find no place.
        most_anchors: Of the anchors in `recall` take this many, the least likely ones now.
    """

    weight_R: FloatArray
    keep_R: BoolArray
    baseline: Literal["kept", "all"] = "kept"
    remember_R: BoolArray | None = None
    recall: tuple[Recall, ...] = ()
    most_anchors: int = 0
