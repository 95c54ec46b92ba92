"""Strategies decide what a training step does. The base class is uniform GRPO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast, get_args

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.errors import RequestError, StrategyError
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.budget import check_feasible, even_split
from gdro.types import Request, Weights


@dataclass(frozen=True)
class NoState:
    """State of a strategy without memory."""


S = TypeVar("S")

Role = Literal["select", "allocate", "extend", "weigh", "remember"]
ROLES: tuple[Role, ...] = ("select", "allocate", "extend", "weigh", "remember")


class Bounds(NamedTuple):
    """Fewest and most rollouts of a prompt, and the name of the strategy with these bounds."""

    strategy: str
    n_min: int
    n_max: int


@dataclass(frozen=True)
class More:
    """Rollouts that a strategy asks for beyond its plan.

    Attributes:
        prompt_P: Dataset indices, of the plan or fresh, shape (P,), each once.
        rollouts_P: Number of further rollouts of each, shape (P,), at least 1.
    """

    prompt_P: IntArray
    rollouts_P: IntArray


@dataclass(frozen=True)
class Draft:
    """A plan without rollout counts yet.

    Attributes:
        prompt_P: Dataset indices of the chosen prompts, shape (P,).
        bin_P: Difficulty bin of each prompt (-1: unseen), shape (P,).
        num_rollouts: Total number of rollouts, to be spent exactly.
    """

    prompt_P: IntArray
    bin_P: IntArray
    num_rollouts: int

    @property
    def mean(self) -> float:
        """n_bar, the mean number of rollouts of a prompt."""
        return self.num_rollouts / len(self.prompt_P)


@dataclass(frozen=True)
class Strategy(Generic[S]):
    """Base of all strategies; unchanged it is uniform GRPO.

    A strategy is a frozen dataclass whose fields are its options. Its methods are pure: state goes
    in and comes out, nothing is mutated, randomness comes from `rng` alone. The state is a frozen
    dataclass of arrays and numbers (arrays with one row a prompt have names that end in `_N`), so
    that one codec saves every strategy. Take `PersistentArray` for those with one row a prompt: its
    `put` costs as much as the prompts of a plan, a copy of a numpy array as much as the dataset.

    Declare `roles`, and override only what they change: `select`, `allocate`, `extend`, `weigh`,
    `update`.
    """

    name: ClassVar[str] = "strategy"
    changes: ClassVar[str] = "nothing"
    source: ClassVar[str] = ""
    cost: ClassVar[str] = "none"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The decisions of a step that the strategy takes; a composition only asks it for these.

        A strategy that extends says in `weigh` which rows are kept, one that remembers what to recall,
        and one that selects may correct the bias of its draws there, all without the role `weigh`.
        """
        return ()

    @property
    def corrects_draws(self) -> bool:
        """Whether `weigh` corrects the bias of the strategy's own `select`."""
        return False

    @property
    def bounds(self) -> Bounds | None:
        """Fewest and most rollouts that `allocate` gives a prompt; None: no bounds of its own."""
        return None

    @property
    def selects(self) -> bool:
        """Whether the strategy chooses prompts, so that a trainer should not offer its own."""
        return "select" in self.roles

    @property
    def needs_loss(self) -> bool:
        """Whether `update` needs the loss of each row after the optimiser's step."""
        return False

    @property
    def extends(self) -> bool:
        """Whether the strategy may ask for rollouts beyond its plan."""
        return "extend" in self.roles

    @property
    def needs_even(self) -> bool:
        """Whether `extend` and `weigh` need plans with the same number of rollouts for all prompts."""
        return False

    @property
    def splits_groups(self) -> bool:
        """Whether `weigh` may keep part of a group, with advantages relative to the whole group."""
        return False

    @property
    def unscaled(self) -> bool:
        """Whether `weigh` gives factors on centred rewards, which no deviation may divide.

        An advantage is then weight * (reward - mean), whatever the trainer divides by otherwise.
        """
        return False

    @property
    def remembers(self) -> bool:
        """Whether `weigh` may remember rollouts and recall them, which the adapter must support."""
        return "remember" in self.roles

    @property
    def remembers_groups(self) -> bool:
        """Whether it remembers groups whole, with the advantages and the policy of their own step."""
        return False

    @property
    def keeps_for(self) -> int:
        """Steps after which a remembered rollout is no longer recalled; 0: no limit."""
        return 0

    @property
    def waits_for(self) -> Literal["", "bin", "visits"]:
        """What a prompt needs before the strategy treats it differently from others.

        Nothing; a bin, which comes from a visit, a prior or a column; or visits of its own.
        """
        return ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the prompts that the strategy reads by `belief.column`, as numbers."""
        return ()

    def init(self, num_prompts: int, num_bins: int) -> S:
        """Initial state for N prompts and B bins."""
        return NoState()  # pyright: ignore[reportReturnType]  # S is NoState unless overridden

    def select(self, state: S, belief: Belief, request: Request, rng: np.random.Generator) -> IntArray:
        """Choose `request.num_prompts` distinct dataset indices, shape (P,)."""
        return rng.choice(belief.num_prompts, request.num_prompts, replace=False)

    def importance(self, state: S, belief: Belief, bin_P: IntArray) -> FloatArray:
        """Uniform probability over the probability of the draw, when `select` drew, shape (P,)."""
        return np.ones(len(bin_P))

    def mass(self, state: S, belief: Belief) -> FloatArray:
        """Probability that a prompt of `select` falls in each bin, shape (B,), for the plan."""
        return belief.size_C[1:] / belief.num_prompts

    def allocate(self, state: S, belief: Belief, draft: Draft, rng: np.random.Generator) -> IntArray:
        """Rollouts of each chosen prompt, shape (P,), at least 1, summing to the total."""
        if draft.num_rollouts < len(draft.prompt_P):
            raise RequestError(
                f"{draft.num_rollouts} rollouts for {len(draft.prompt_P)} prompts leave prompts "
                "without any; ask for at least one each"
            )
        return even_split(len(draft.prompt_P), draft.num_rollouts)

    def extend(
        self, state: S, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        """Further rollouts after `round` extensions, or None when the step needs no more.

        The `weigh` of a strategy that extends must keep at most `groups.plan.num_rollouts` rows.
        """
        return None

    def weigh(self, state: S, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Weights of the outcome's rows, with beliefs from before the visit.

        `rng` is seeded by the plan: weighing an outcome again gives the same weights.
        """
        return groups.expand(np.ones(len(groups.plan.prompt_P)))

    def update(self, state: S, belief: Belief, groups: Groups) -> S:
        """The next state, with beliefs from before the visit."""
        return state

    def restored(self, state: S) -> S:
        """A state of a checkpoint, with what follows from its other fields (`codec.derived`)."""
        return state

    def metrics(self, state: S) -> dict[str, float]:
        """Scalars worth logging."""
        return {}

    def by_bin(self, state: S) -> dict[str, FloatArray]:
        """Per-bin values worth logging, each shape (B,)."""
        return {}

    def config(self) -> dict[str, Any]:
        """The options as plain data, enough to make the strategy again."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def check_roles(strategy: Strategy[Any]) -> None:
    """Refuse a strategy whose methods would never be called, because its roles do not name them.

    Raises:
        StrategyError: `roles` is not a tuple of roles, is missing, or names a method of the base class.
    """
    cls, given = type(strategy), cast("Any", strategy.roles)
    if not isinstance(given, tuple) or not set(cast("tuple[Any, ...]", given)) <= set(ROLES):
        raise StrategyError(
            f"strategy {strategy.name!r} has roles {given!r}; allowed: a tuple of {', '.join(ROLES)}"
        )
    hooks = ("select", "allocate", "extend", "weigh")
    own = [hook for hook in hooks if getattr(cls, hook) is not getattr(Strategy, hook)]
    if own and cls.roles is Strategy.roles:
        raise StrategyError(
            f"strategy {strategy.name!r} overrides {', '.join(own)} and declares no roles, so some "
            f"would never be called; give its class the property `roles`, e.g. returning {tuple(own)}"
        )
    idle = next((role for role in strategy.roles if role not in (*own, "remember")), None)
    if idle is not None:
        raise StrategyError(
            f"strategy {strategy.name!r} has the role {idle!r} and does not override {idle}(); override "
            "it, or leave the role out"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Strategy):
        part = cast("Strategy[Any]", value)
        return {"name": part.name, **part.config()}
    return value


def require(strategy: str, checks: Mapping[str, tuple[bool, Any, str]]) -> None:
    """Raise for the first option that is out of range.

    Args:
        strategy: Name of the strategy, for the message.
        checks: For each option whether it is valid, its value, and what is allowed in words.

    Raises:
        StrategyError: An option is out of range.
    """
    for option, (fine, got, allowed) in checks.items():
        if not fine:
            raise StrategyError(f"{strategy}: {option} is {got!r}; allowed: {allowed}")


def one_of(value: str, options: Any) -> tuple[bool, str, str]:
    """A check for `require`: the value is one of a `Literal`'s."""
    return value in get_args(options), value, ", ".join(get_args(options))


@dataclass(frozen=True)
class Allocator(Strategy[S]):
    """A strategy that allocates, and gives each prompt `n_min` to `n_max` rollouts."""

    n_min: int = 2
    n_max: int = 12

    def __post_init__(self) -> None:
        checks = {
            "n_min": (self.n_min >= 2, self.n_min, "2 or more (one rollout has no advantage)"),
            "n_max": (self.n_max >= self.n_min, self.n_max, f"n_min={self.n_min} or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("allocate",)

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.name, self.n_min, self.n_max)

    def over_seen(self, draft: Draft, spread: Callable[[IntArray, IntArray, int], IntArray]) -> IntArray:
        """Rollouts of each prompt where those without a bin get the mean number, shape (P,).

        Args:
            draft: The plan so far.
            spread: From the dataset indices and bins of the other prompts, shape (S,) each, and their
                total: the rollouts of each, shape (S,).

        Raises:
            BudgetError: The bounds exclude the total.
        """
        check_feasible(len(draft.prompt_P), draft.num_rollouts, self.n_min, self.n_max)
        rollouts_P = even_split(len(draft.prompt_P), draft.num_rollouts)
        seen_P = np.flatnonzero(draft.bin_P >= 0)
        if len(seen_P):
            total = int(rollouts_P[seen_P].sum())
            rollouts_P[seen_P] = spread(draft.prompt_P[seen_P], draft.bin_P[seen_P], total)
        return rollouts_P
