"""Online difficulty: the estimated pass rate of each prompt and its bin (eq. 10-11 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from gdro.common.hints import hint
from gdro.common.options import check_kinds
from gdro.difficulty.bins import Bins, binning
from gdro.difficulty.counts import Counts, DecayedCounts, WindowedCounts
from gdro.difficulty.guessing import check_guess, guessing
from gdro.difficulty.predictor import Predictor
from gdro.difficulty.prior import Prior
from gdro.errors import StrategyError
from gdro.numerics.arrays import FloatArray, IntArray, frozen, one_more
from gdro.numerics.hashing import RunningHash
from gdro.numerics.passk import passk_posterior, passk_unbiased
from gdro.numerics.ranks import RankIndex, blocked
from gdro.problem import Problem
from gdro.types import UNSEEN

PAPER_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Difficulty:
    """How difficulty is estimated and binned.

    Args:
        tracker: `decayed` success and failure counts (16 bytes per prompt), or `windowed`: the counts
            of the last visits.
        estimator: How pass@k is estimated: `bayes` (posterior mean), `unbiased` (the unbiased
            estimator, `bayes` where a prompt has fewer than k trials), or `any` (share of visits with
            a success, as in the paper; it depends on the number of rollouts).
        k: k of the pass@k by which prompts are binned.
        bins: What a bin is: a range of `difficulty`, a category of the `column` (topic, source,
            level), or a pair of both (`product`).
        column: Name of the dataset column with the categories; empty with `bins="difficulty"`.
        edges: Increasing bin edges in pass@k, inside (0, 1); they make B = len(edges) + 1 bins, bin 0
            the hardest.
        hysteresis: Distance in pass@k by which an estimate must pass an edge before the bin changes.
        decay: Factor in [0, 1] on a prompt's counts at each of its visits (tracker `decayed`).
        window: Number of visits that are counted, H (tracker `windowed`).
        prior_strength: Weight of the prior, in rollouts.
        prior_decay: Factor in [0, 1) per visit on the dataset's running mean pass rate, which is the
            prior mean.
        guess: Probability g that a guess is right, or the name of a dataset column with such
            probabilities or with numbers of choices (2 or more). Pass rates, pass@k and bins then
            measure skill, (p - g) / (1 - g).
        predictor: Dataset columns from which the pass rates of prompts are predicted, online: numbers,
            categories, texts, lists of numbers (an embedding), or `prompt`, the text of the prompt. The
            prediction is the prior mean, as strong as earlier ones were right, and gives unseen prompts
            a bin.

    Raises:
        StrategyError: An option is out of range.
    """

    tracker: Literal["decayed", "windowed"] = "decayed"
    estimator: Literal["bayes", "unbiased", "any"] = "bayes"
    k: int = 8
    bins: Bins = "difficulty"
    column: str = ""
    edges: tuple[float, ...] = PAPER_EDGES
    hysteresis: float = 0.03
    decay: float = 0.7
    window: int = 50
    prior_strength: float = 1.0
    prior_decay: float = 0.995
    guess: float | str = 0.0
    predictor: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_kinds("difficulty", vars(self), type(self))
        object.__setattr__(self, "predictor", _names(self.predictor))
        check_guess(self.guess)
        edges = _numbers(self.edges)
        object.__setattr__(self, "edges", edges)
        if not edges or any(b <= a for a, b in zip((0.0, *edges), (*edges, 1.0), strict=True)):
            raise StrategyError(f"edges are {edges}; they must increase strictly inside (0, 1)")
        room = min(edges[0], 1.0 - edges[-1])
        ranges = {
            "tracker": self.tracker in ("decayed", "windowed"),
            "estimator": self.estimator in ("bayes", "unbiased", "any"),
            "k": self.k >= 1,
            "bins": self.bins in get_args(Bins),
            "column": (self.bins == "difficulty") != bool(self.column),
            "hysteresis": 0.0 <= self.hysteresis < room,
            "decay": 0.0 <= self.decay <= 1.0,
            "window": 1 <= self.window <= 65535,
            "prior_strength": self.prior_strength > 0.0,
            "prior_decay": 0.0 <= self.prior_decay < 1.0,
            "guess": not self.guess or self.estimator != "any",
        }
        bad = [name for name, fine in ranges.items() if not fine]
        if bad:
            raise StrategyError(
                f"difficulty option {bad[0]} is {getattr(self, bad[0])!r}; allowed: tracker decayed or "
                "windowed; estimator bayes, unbiased or any; k >= 1; bins difficulty, column or "
                f"product; column only and always with the last two; 0 <= hysteresis < {room:.3g} (the "
                "distance of the outer edges from 0 and 1); 0 <= decay <= 1; 1 <= window <= 65535; "
                "prior_strength > 0; 0 <= prior_decay < 1; guess with estimator bayes or unbiased"
            )

    def identity(self) -> dict[str, Any]:
        """The options as plain data; without later ones where they are off, as in files before them."""
        return {k: v for k, v in asdict(self).items() if v or k not in ("guess", "predictor")}

    @property
    def columns(self) -> tuple[str, ...]:
        """Dataset columns that are read."""
        known = (self.column, self.guess, *self.predictor)
        return tuple(dict.fromkeys(name for name in known if name and isinstance(name, str)))

    @property
    def num_bins(self) -> int:
        """Number of difficulty bins, len(edges) + 1; a column multiplies or replaces them."""
        return len(self.edges) + 1


def _numbers(edges: Any) -> tuple[float, ...]:
    many = isinstance(edges, Iterable) and not isinstance(edges, str)
    numbers: list[Any] = list(cast("Iterable[Any]", edges)) if many else [None]
    if not all(isinstance(edge, Real) for edge in numbers):
        raise StrategyError(f"edges are {edges!r}; they must be numbers that increase inside (0, 1)")
    return tuple(float(edge) for edge in numbers)


def _names(predictor: Any) -> tuple[str, ...]:
    names: list[Any] = [predictor] if isinstance(predictor, str) else []
    if isinstance(predictor, list | tuple):
        names = list(cast("Iterable[Any]", predictor))
    wrong = not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names)
    if wrong or not (isinstance(predictor, str | list | tuple)):
        raise StrategyError(
            f"difficulty option predictor is {predictor!r}; allowed: a list of distinct names of "
            "columns, 'prompt' for the text of the prompt among them"
        )
    return tuple(names)


def difficulty_of(options: Mapping[str, Any]) -> Difficulty:
    """Difficulty from options by name, as configuration files and command lines give them.

    Raises:
        StrategyError: An option is unknown, of the wrong type, or out of range.

    >>> difficulty_of({"k": 4}).k
    4
    """
    known = [f.name for f in fields(Difficulty)]
    for name in options:
        if name not in known:
            raise StrategyError(f"difficulty: unknown option {name!r}{hint(name, known)}")
    return Difficulty(**options)


class DifficultyTracker:
    """Counts, prior and bins of every prompt; only the controller changes them."""

    def __init__(self, config: Difficulty, problem: Problem) -> None:
        self.config = config
        self.problem = problem
        num = problem.num_prompts
        self.binning = binning(config.bins, config.column, config.edges, config.hysteresis, problem)
        self._prior_N = problem.prior_N
        self.guessing = guessing(config.guess, problem)
        self.predictor = Predictor(config.predictor, problem) if config.predictor else None
        self.counts: Counts = (
            DecayedCounts(num, config.decay)
            if config.tracker == "decayed"
            else WindowedCounts(num, config.window)
        )
        num_bins = self.binning.num_bins
        self.visits_N = np.zeros(num, np.int32)
        start_N = self.binning.start(num).astype(np.int8 if num_bins < 127 else np.int16)
        self._block, self.bin_N = blocked(start_N)
        self.size_C = np.zeros(1 + num_bins, np.int64)
        self.prior = Prior(self.binning, config.prior_decay)
        if self._prior_N is not None:
            known_P = np.flatnonzero(~np.isnan(self._prior_N))
            old_P = self.bin_N[known_P].astype(np.int64)
            self.bin_N[known_P] = self.binning.bins(known_P, self.passk(known_P), old_P)
        self._start_over()

    def posterior(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Beta posterior of the pass rate: (alpha, beta), each shape (P,)."""
        return self._posterior(prompt_P, *self.totals(prompt_P))

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures, corrected for guessing, each shape (P,)."""
        return self._skilled(prompt_P, *self.counts.totals(prompt_P))

    def _skilled(
        self, prompt_P: IntArray, success_P: FloatArray, failure_P: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        if self.guessing is None:
            return success_P, failure_P
        return self.guessing.skilled(prompt_P, success_P, failure_P)

    def _posterior(
        self, prompt_P: IntArray, success_P: FloatArray, failure_P: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        strength = self.config.prior_strength
        mean_P = self.prior.mean(prompt_P)
        if self.predictor is not None and self.predictor.is_ready:
            mean_P, strength = self.predictor.mean(prompt_P), self.predictor.strength(strength)
        if self._prior_N is not None:
            own_P = self._prior_N[prompt_P]
            mean_P = np.where(np.isnan(own_P), mean_P, np.clip(own_P, 0.05, 0.95))
            strength = np.where(np.isnan(own_P), strength, self.config.prior_strength)
        if self.guessing is not None:
            mean_P = np.clip(self.guessing.skill(prompt_P, mean_P), 0.05, 0.95)
        return success_P + strength * mean_P, failure_P + strength * (1.0 - mean_P)

    def passk(self, prompt_P: IntArray) -> FloatArray:
        """Estimated pass@k by the configured estimator, shape (P,)."""
        return self._passk(prompt_P, *self.totals(prompt_P))

    def _passk(self, prompt_P: IntArray, success_P: FloatArray, failure_P: FloatArray) -> FloatArray:
        k = self.config.k
        alpha_P, beta_P = self._posterior(prompt_P, success_P, failure_P)
        posterior_P = passk_posterior(alpha_P, beta_P, k)
        if self.config.estimator == "bayes":
            return posterior_P
        if self.config.estimator == "any":
            hit_P, visit_P = self.counts.hits(prompt_P)
            return np.where(visit_P > 0, hit_P / np.maximum(visit_P, 1e-12), posterior_P)
        trials_P = success_P + failure_P
        enough_P = trials_P >= k
        safe_P = np.where(enough_P, trials_P, float(k))
        return np.where(enough_P, passk_unbiased(success_P, safe_P, k), posterior_P)

    def record(self, prompt_P: IntArray, successes_P: IntArray, trials_P: IntArray) -> None:
        """Add one visit to distinct prompts with at least one trial each, and update their bins."""
        if not len(prompt_P):
            return
        before = self._rows(prompt_P) if self._hashes else {}
        visit_P = self.visits_N[prompt_P].astype(np.int64)
        raw = self.counts.record(prompt_P, visit_P, successes_P, trials_P)
        totals = self._skilled(prompt_P, *raw)
        self.visits_N[prompt_P] = one_more(self.visits_N[prompt_P])
        self.prior.observe(prompt_P, successes_P / trials_P)
        if self.predictor is not None:
            self.predictor.observe(prompt_P, successes_P / trials_P, trials_P)
        old_P = self.bin_N[prompt_P].astype(np.int64)
        new_P = self.binning.bins(prompt_P, self._passk(prompt_P, *totals), old_P)
        self.bin_N[prompt_P] = new_P
        # Updated, not recounted: a count over the dataset at each step would cost O(N).
        self.size_C += np.bincount(new_P + 1, minlength=len(self.size_C))
        self.size_C -= np.bincount(old_P + 1, minlength=len(self.size_C))
        if self._index is not None:
            self._index.change(prompt_P, old_P, new_P)
        after = self._rows(prompt_P) if before else {}
        for name, rows in before.items():
            self._hashes[name].change(prompt_P, rows, after[name])

    def bins(self, prompt_P: IntArray, predicted: bool) -> IntArray:
        """Bins of prompts, -1 where unseen, unless they are `predicted` there, shape (P,), read-only.

        Prompts that were drawn by bin keep the bin that they were drawn from: weights count on its mass.
        """
        bin_P = self.bin_N[prompt_P].astype(np.int64)
        unseen_P = np.flatnonzero(bin_P == UNSEEN)
        if predicted and self.predictor is not None and self.predictor.is_ready and len(unseen_P):
            of_P = prompt_P[unseen_P]
            bin_P[unseen_P] = self.binning.bins(of_P, self.passk(of_P), bin_P[unseen_P])
        return frozen(bin_P, np.int64)

    @property
    def index(self) -> RankIndex:
        """The prompts by bin, the unseen ones first; built when it is first used."""
        if self._index is None:
            num, classes = self.problem.num_prompts, 1 + self.binning.num_bins
            self._index = RankIndex(self._block, num, classes, UNSEEN)
        return self._index

    def hashes(self) -> dict[str, int]:
        """`hash_rows` of the arrays with one row per prompt, by name; they follow every visit."""
        arrays = self._by_prompt()
        self._hashes = self._hashes or {name: RunningHash() for name in arrays}
        return {name: running.value(arrays[name]) for name, running in self._hashes.items()}

    def hashes_fit(self) -> bool:
        """Whether the hashes that followed every visit are those of the arrays."""
        arrays = self._by_prompt()
        return all(running.fits(arrays[name]) for name, running in self._hashes.items())

    def _by_prompt(self) -> dict[str, npt.NDArray[Any]]:
        return {name: array for name, array in self.arrays().items() if "_N" in name}

    def _rows(self, prompt_P: IntArray) -> dict[str, npt.NDArray[Any]]:
        return {name: array.take(prompt_P, axis=0) for name, array in self._by_prompt().items()}

    def _start_over(self) -> None:
        """Forget what follows from the arrays, and count the bins."""
        self._index: RankIndex | None = None
        self._hashes: dict[str, RunningHash] = {}
        self.size_C = np.bincount(self.bin_N.astype(np.int64) + 1, minlength=1 + self.binning.num_bins)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """State as named arrays; those named `..._N` or `..._NH` have one row per prompt."""
        return {
            "visits_N": self.visits_N,
            "bin_N": self.bin_N,
            "prior": self.prior.array(),
            **self.counts.arrays(),
            **({} if self.predictor is None else self.predictor.arrays()),
        }

    def load_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the state by arrays as `arrays()` returns them, most without copying."""
        self.prior.load(arrays["prior"])
        self.visits_N = arrays["visits_N"]
        self._block, self.bin_N = blocked(arrays["bin_N"])
        self.counts.adopt(arrays)
        if self.predictor is not None:
            self.predictor.load(arrays)
        self._start_over()
