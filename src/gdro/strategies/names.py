"""Names of strategies: those of gdro, presets, aliases, and those of other packages.

Other packages declare theirs under the entry points group `gdro.strategies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from gdro.common.hints import hint
from gdro.errors import StrategyError
from gdro.strategies.presets import ALIASES, PRESETS, NamedComposition
from gdro.strategy import Strategy

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "gdro.strategies"
BUILT_IN = {
    "adarft": "gdro.strategies.baselines.adarft:AdaRFT",
    "advantage-replay": "gdro.strategies.baselines.advantage_replay:AdvantageReplay",
    "bbg": "gdro.strategies.baselines.bbg:BBG",
    "curriculum": "gdro.strategies.baselines.curriculum:Curriculum",
    "curverl": "gdro.strategies.baselines.curverl:CurveRL",
    "dapo": "gdro.strategies.baselines.dapo:Dapo",
    "daro": "gdro.strategies.baselines.daro:Daro",
    "difficulty-pool": "gdro.strategies.baselines.difficulty_pool:DifficultyPool",
    "failure-sampling": "gdro.strategies.failure_sampling:FailureSampling",
    "greso": "gdro.strategies.baselines.greso:Greso",
    "hora": "gdro.strategies.baselines.hora:Hora",
    "joint": "gdro.strategies.joint:Joint",
    "knapsack": "gdro.strategies.baselines.knapsack:Knapsack",
    "maxrl": "gdro.strategies.baselines.maxrl:MaxRL",
    "memory": "gdro.strategies.memory:Memory",
    "mopps": "gdro.strategies.mopps:Mopps",
    "passk-advantages": "gdro.strategies.passk_advantages:PasskAdvantages",
    "pilot-commit": "gdro.strategies.baselines.pilot_commit:PilotCommit",
    "placebo-weights": "gdro.strategies.baselines.placebo_weights:PlaceboWeights",
    "popo": "gdro.strategies.baselines.popo:Popo",
    "prompt-gdro": "gdro.strategies.prompt_gdro:PromptGDRO",
    "random-rollouts": "gdro.strategies.baselines.random_rollouts:RandomRollouts",
    "reinforce-ada": "gdro.strategies.baselines.reinforce_ada:ReinforceAda",
    "rollout-gdro": "gdro.strategies.rollout_gdro:RolloutGDRO",
    "sec": "gdro.strategies.baselines.sec:Sec",
    "speed": "gdro.strategies.baselines.speed:Speed",
    "token-gdro": "gdro.strategies.token_gdro:TokenGDRO",
    "uniform": "gdro.strategies.uniform:Uniform",
}


@cache
def _table() -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points by name; more than one where packages clash."""
    # Costs a quarter of `import gdro`, which needs no name yet.
    from importlib.metadata import EntryPoint, entry_points

    built_in = [EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()]
    table: dict[str, tuple[EntryPoint, ...]] = {}
    for point in [*built_in, *entry_points(group=GROUP)]:
        table[point.name] = (*table.get(point.name, ()), point)
    return table


def list_strategies() -> list[str]:
    """Names of all strategies, built in or from other packages.

    Returns:
        The names, sorted, without presets.

    >>> "rollout-gdro" in list_strategies(), "gdro" in list_strategies()
    (True, False)
    """
    return sorted(_table())


def canonical(name: str) -> str:
    """A name as in the table: in lower case, with `-` for `_` and aliases replaced; unknown ones stay.

    >>> canonical("Rollout_GDRO"), canonical("GRPO"), canonical("nosuch")
    ('rollout-gdro', 'uniform', 'nosuch')
    """
    if name in _table() or name in PRESETS:
        return name
    folded = _folded(name)
    known = {_folded(other): other for other in (*list_strategies(), *PRESETS)}
    return (known | ALIASES).get(folded, name)


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


def strategy_class(name: str) -> type[Strategy[Any]]:
    """The class behind a name.

    Raises:
        StrategyError: The name is unknown, two packages have it, or its class cannot be loaded.
    """
    points = _table().get(canonical(name), ())
    if not points:
        known = [*list_strategies(), *PRESETS, *ALIASES]
        raise StrategyError(f"unknown strategy {name!r}{hint(name, known)}")
    point = points[0]
    if len(points) > 1 or point.name in ALIASES:
        raise _taken_twice(point.name, points)
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as problem:
        raise StrategyError(
            f"strategy {name!r} ({_origin(point)}) cannot be loaded: {problem}; install what its "
            "package needs, or uninstall it"
        ) from problem
    if not (isinstance(loaded, type) and issubclass(loaded, Strategy)):
        raise StrategyError(
            f"strategy {name!r} ({_origin(point)}) is {loaded!r}; it must be a class derived from "
            "gdro.Strategy"
        )
    if loaded.name == Strategy.name:
        raise StrategyError(
            f"strategy {name!r} ({_origin(point)}) has no name of its own, which logs and checkpoints "
            f"keep; set its class attribute `name` to {point.name!r}"
        )
    return cast("type[Strategy[Any]]", loaded)


def preset_of(name: str) -> NamedComposition | None:
    """The preset of a name, if it is one.

    Raises:
        StrategyError: Another package has a strategy of that name.
    """
    known = canonical(name)
    if known in PRESETS and known in _table():
        raise _taken_twice(known, _table()[known])
    return PRESETS.get(known)


def _taken_twice(name: str, points: Sequence[EntryPoint]) -> StrategyError:
    own = ["a name of gdro's own"] if name in (*PRESETS, *ALIASES) else []
    owners = " and ".join([*(_origin(point) for point in points), *own])
    return StrategyError(
        f"the strategy name {name!r} is taken twice: {owners}; rename the entry point of the other "
        "package, or uninstall it"
    )


def _origin(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"{point.value}{package}"
