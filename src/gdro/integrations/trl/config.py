"""GRPOConfig with gdro's arguments as fields, for parsers, YAML files and the command line."""

# ruff: noqa: RUF009  # `_option` makes dataclass fields

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trl import GRPOConfig  # pyright: ignore[reportPrivateImportUsage]  # it is TRL's public name

from gdro.common.hints import did_you_mean
from gdro.difficulty.tracker import Difficulty
from gdro.errors import StrategyError, UnsupportedError
from gdro.integrations.trl.console import Console, check_console
from gdro.integrations.trl.correct import Correct, check_correct
from gdro.integrations.trl.resume import ResumeKeys, check_resume_keys
from gdro.strategies.compose import Part, term_of
from gdro.strategy import Strategy


def _option(default: Any, help: str) -> Any:
    """A field of the config with the help that parsers print."""
    return field(default=default, metadata={"help": help})


@dataclass
class GDROConfig(GRPOConfig):
    """GRPOConfig with the arguments of `GDROTrainer` as fields.

    An argument of the trainer replaces a field that has its default; otherwise the two must agree.

    Args:
        strategy: Name of a strategy; None: `gdro.default_strategy(num_generations)`.
        strategy_options: Options of the strategy by name; on a command line as JSON.
        difficulty: Options of `gdro.Difficulty` by name; on a command line as JSON.
        apply: False is shadow mode: plan, weigh and log, change nothing.
        id_column: Dataset column of distinct ids.
        prior_column: Dataset column of known pass rates.
        correct: Name of the reward function that says whether a rollout is right, with or without a
            threshold, or several of either, as the trainer's argument.
        process: Name of the reward function that checks the work, with or without a threshold.
        prompt_equal: Multiply advantages by n_bar/n, the mean group size over the prompt's own.
        memory_bytes: Most bytes of tokens that a strategy with a memory keeps.
        memory_episodes: False: a memory stores no rollout in which a tool, an environment or a rollout
            function had a part.
        gdro_log: `brief` (six numbers) or `full` lines on the console.
        resume_keys: `exact`, `match` or `fresh`: how a resumed run treats a changed dataset.
        generation: `trl` for the trainer's own generation, `static` for a `StaticDecoder`.

    Raises:
        StrategyError: `strategy` is no name, or an option of `difficulty` is unknown or out of range.
        UnsupportedError: `gdro_log` or `resume_keys` has another value, or `correct` is a function.

    >>> GDROConfig("out", strategy="rollout-gdro", correct=["accuracy", "0.9"], bf16=False).correct
    ['accuracy', 0.9]
    """

    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "strategy_options", "difficulty"]  # noqa: RUF012

    strategy: str | None = _option(
        None,
        "Strategy by name, or a composition like 'mopps + rollout-gdro' (`gdro strategies` lists them). "
        "Not set: gdro's default for `num_generations`.",
    )
    strategy_options: dict[str, Any] | str | None = _option(None, "Options of the strategy, as JSON.")
    difficulty: dict[str, Any] | str | None = _option(
        None, "Options of gdro.Difficulty (k, edges, decay, bins, column, ...), as JSON."
    )
    apply: bool = _option(
        True, "False is shadow mode: plan, weigh and log, but train as GRPOTrainer does."
    )
    id_column: str | None = _option(None, "Dataset column of distinct ids of prompts.")
    prior_column: str | None = _option(None, "Dataset column of known pass rates of prompts.")
    correct: list[str] | None = _option(
        None,
        "Reward function that says whether a rollout is right, and optionally the threshold that its "
        "reward must exceed: --correct accuracy 0.5.",
    )
    process: list[str] | None = _option(
        None,
        "Reward function that checks the work instead of the answer, and optionally a threshold; a "
        "memory stores no success that it objects to: --process equations_hold 0.5.",
    )
    prompt_equal: bool = _option(
        False, "Multiply advantages by n_bar/n, for losses that average over rows."
    )
    memory_bytes: int = _option(2**28, "Most bytes of tokens that a strategy with a memory keeps.")
    memory_episodes: bool = _option(
        True,
        "False: a memory stores no rollout in which a tool, an environment or a rollout function had a "
        "part.",
    )
    gdro_log: Console = _option("brief", "Lines on the console: brief (six numbers) or full.")
    resume_keys: ResumeKeys = _option(
        "exact",
        "Which checkpoints to resume from: exact (of the same dataset), match (follow the rows that "
        "both have), fresh (its weights alone; beliefs start anew).",
    )
    generation: str = _option(
        "trl",
        "trl: generate as the other options say. static: by gdro's decoder, each token one replayed "
        "CUDA graph.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.strategy, list | tuple):
            self.strategy = " + ".join(p if isinstance(p, str) else term_of(p) for p in self.strategy)
        if self.strategy is not None and not isinstance(self.strategy, str):
            raise StrategyError(
                f"GDROConfig.strategy is a {type(self.strategy).__name__}, and a config holds names; "
                "pass the object to the trainer: GDROTrainer(..., strategy=...)"
            )
        if isinstance(self.difficulty, Difficulty):
            self.difficulty = asdict(self.difficulty)
        _difficulty(self.difficulty)
        check_console(self.gdro_log)
        check_resume_keys(self.resume_keys)
        for option in ("correct", "process"):
            if callable(value := getattr(self, option)):
                raise UnsupportedError(
                    f"GDROConfig.{option} is the function {getattr(value, '__name__', value)!r}, and a "
                    f"config holds names; pass it to the trainer: GDROTrainer(..., {option}=...)"
                )
        self.correct, self.process = _correct(self.correct), _correct(self.process)


OWN = tuple(f.name for f in fields(GDROConfig) if f.name not in {g.name for g in fields(GRPOConfig)})
"""Fields that GRPOConfig does not have."""

_DEFAULTS = {f.name: f.default for f in fields(GDROConfig) if f.name in OWN}


@dataclass(frozen=True)
class Settings:
    """The arguments of `GDROMixin`, each from the call, the config or its default."""

    strategy: Strategy[Any] | str | Sequence[Part] | None
    strategy_options: Mapping[str, Any] | None
    difficulty: Difficulty | None
    apply: bool
    id_column: str | None
    prior_column: str | None
    correct: Correct | None
    process: Correct | None
    prompt_equal: bool
    memory_bytes: int
    memory_episodes: bool
    gdro_log: Console
    resume_keys: ResumeKeys
    generation: str

    def __post_init__(self) -> None:
        check_console(self.gdro_log)
        check_resume_keys(self.resume_keys)
        check_correct(self.correct)

    @property
    def of_controllers(self) -> tuple[Any, ...]:
        """Arguments that cannot be combined with a ready controller; none is true if none was given."""
        return self.strategy, self.strategy_options, self.difficulty, not self.apply


def settled(config: Any, **given: Any) -> Settings:
    """Arguments of a trainer (None: not given), completed from its config if that is a GDROConfig.

    Raises:
        UnsupportedError: An argument and a field of the config were given and differ.
    """
    values: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = given.get(name)
        preset = getattr(config, name) if isinstance(config, GDROConfig) else default
        changed = preset != default
        if name == "difficulty":
            preset = _difficulty(preset)
        rule = name in ("correct", "process")
        same = _correct(value) == preset if rule else value == preset
        if value is not None and changed and not same:
            raise UnsupportedError(
                f"{name} was given twice: {value!r} to the trainer and {preset!r} in its GDROConfig; "
                "give it once"
            )
        filled = _pairs(preset) if rule else preset
        values[name] = filled if value is None else value
    return Settings(**values)


def _difficulty(options: Any) -> Difficulty | None:
    if options is None:
        return None
    known = [f.name for f in fields(Difficulty)]
    if not isinstance(options, Mapping):
        raise StrategyError(
            f"GDROConfig.difficulty is {options!r}; allowed: options of gdro.Difficulty by name, e.g. "
            '{"k": 4}'
        )
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        guess = did_you_mean(unknown, known) or f"; there are: {', '.join(known)}"
        raise StrategyError(f"GDROConfig.difficulty has no option {unknown!r}{guess}")
    return Difficulty(**options)


def _correct(correct: Any) -> Any:
    """`correct` as the config holds it: command lines and YAML give lists, in which numbers are text."""
    if not isinstance(correct, list | tuple):
        return correct
    if len(correct) == 1:
        return correct[0]
    if len(correct) == 2 and _number(correct[1]) is not None:
        return [correct[0], _number(correct[1])]
    return [_correct(item) for item in correct]


def _pairs(correct: Any) -> Any:
    """`correct` as the trainer takes it: a name and its threshold are a tuple."""
    if not isinstance(correct, list):
        return correct
    if isinstance(correct[-1], float):
        return tuple(correct)
    return [_pairs(item) for item in correct]


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
