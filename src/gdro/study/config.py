"""What a study is: a YAML file validated by a schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from gdro.common.config import merge_written
from gdro.common.files import check_name
from gdro.common.hints import hint
from gdro.common.options import check_kinds
from gdro.common.redaction import hidden
from gdro.difficulty.features import TEXT
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import StudyError
from gdro.step.bounds import check_bounds
from gdro.step.checks import check_seed
from gdro.strategies.registry import named, text_of
from gdro.strategy import Strategy
from gdro.study.testbed import POOL_COLUMNS, levels_of, load_testbed
from gdro.study.training import PoolSizes, Training
from gdro.study.variant import Variant

_WARM_STARTS = "warm_starts"
_MOST_SEEDS = 10_000
_LOOK = 200  # problems that show which levels a task has


@dataclass
class StudyArm:
    """An arm: a strategy by name, its options, and training options that differ from the study's.

    Attributes:
        strategy: Name, names joined with `+`, or a list of parts.
        options: Options of the strategy, by name.
        difficulty: Options of `gdro.Difficulty`.
        training: Training options of this arm that differ from the study's.
        seeds: Subset of the study's confirmation seeds that this arm runs; None: all.
        groups: Groups of testbeds that this arm runs on; None: all.
    """

    strategy: Any = "uniform"
    options: dict[str, Any] = field(default_factory=dict)
    difficulty: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    seeds: str | None = None
    groups: list[str] | None = None


@dataclass
class Bed:
    """A testbed: a task, the warm start to train from, and how its pool is corrupted.

    Attributes:
        task: A shipped name, or `module:Class`.
        warm_start: A shipped name, or a file.
        variant: How answers are graded and what is wrong with the pool.
        seeds: Subset of the study's confirmation seeds that run on it; None: all.
        group: Testbeds of one group are also reported together, with equal weight.
    """

    task: str = MISSING
    warm_start: str = MISSING
    variant: Variant = field(default_factory=Variant)
    seeds: str | None = None
    group: str = "all testbeds"


@dataclass
class Study:
    """A paired comparison.

    Attributes:
        name: Name of the study, used for its output files.
        description: One line.
        control: The arm that all others are compared with.
        arms: The arms by name; a study of several arms needs a placebo and a random one.
        testbeds: The testbeds by name.
        seeds: Confirmation seeds, e.g. `100-111`; results come from these.
        exploration_seeds: Seeds for choosing between arms; never reported as results.
        training: Training options shared by all arms.
        sizes: Numbers of problems and of evaluation samples.
        difficulty: Options of `gdro.Difficulty`, shared by all arms.
    """

    name: str = MISSING
    description: str = ""
    control: str = "grpo"
    arms: dict[str, StudyArm] = field(default_factory=dict)
    testbeds: dict[str, Bed] = field(default_factory=dict)
    seeds: str = "100-111"
    exploration_seeds: str = "0-5"
    training: Training = field(default_factory=Training)
    sizes: PoolSizes = field(default_factory=PoolSizes)
    difficulty: dict[str, Any] = field(default_factory=dict)


def load_study(path: Path, overrides: list[str] | None = None) -> Study:
    """Read and check a study.

    Args:
        path: YAML file.
        overrides: Overrides of the file, each `dotted.key=value`.

    Returns:
        The study.

    Raises:
        StudyError: The file, a key, a seed, a strategy or a testbed is invalid; the message names it.
    """
    if not path.is_file():
        near = Path("studies") / f"{path.name.removesuffix('.yaml')}.yaml"
        guess = f"did you mean {near}?" if near.is_file() else "pass a YAML file"
        raise StudyError(f"no study {path}; {guess}")
    study, written = merge_written(Study, [path], overrides or [], f"study {path}", StudyError)
    assert isinstance(study, Study)
    study.description = hidden(written["description"])  # is published: as it was written
    check_name(study.name, "name", StudyError)
    for arm in study.arms.values():
        arm.strategy = text_of(arm.strategy)
    _check_arms(study)
    confirmation, exploration = parse_seeds(study.seeds), parse_seeds(study.exploration_seeds)
    for seeds, option in ((confirmation, "seeds"), (exploration, "exploration_seeds")):
        check_seed(max(seeds), option, StudyError)
    overlap = sorted(set(confirmation) & set(exploration))
    if overlap:
        raise StudyError(
            f"seeds {overlap} are both confirmation and exploration seeds; results on seeds that were "
            "used for choosing overstate the best arm; use other confirmation seeds"
        )
    for name, bed in study.testbeds.items():
        _check_bed(study, name, bed)
        _check_subset(bed.seeds, confirmation, f"testbeds.{name}.seeds")
    return study


def _check_arms(study: Study) -> None:
    if study.control not in study.arms:
        raise StudyError(f"control is {study.control!r}; the arms are {', '.join(study.arms) or 'none'}")
    if not study.testbeds:
        raise StudyError("a study needs at least one testbed")
    for name, arm in study.arms.items():
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            raise StudyError(f"arm {name!r}: use letters, digits, '-', '_', '+' and '.'")
        check_name(name, "the name of an arm", StudyError)
        _check_groups(study, name, arm)
        strategy = strategy_of(study, arm)
        difficulty_of({**study.difficulty, **arm.difficulty})
        _check_prefixes(name, strategy, training_of(study, arm))
        check_bounds(strategy, training_of(study, arm).rollouts, "training.rollouts", warn=False)
        _check_subset(arm.seeds, parse_seeds(study.seeds), f"arms.{name}.seeds")
    if len(study.arms) > 2:
        for kind, strategy in missing_placebos(study).items():
            raise StudyError(
                f"the study has no {kind} arm; add one with strategy: {strategy}, because unequal "
                "weights and groups have an effect by themselves"
            )


def _check_prefixes(name: str, strategy: Strategy[Any], training: Training) -> None:
    if training.prefix_below and (not strategy.remembers or strategy.remembers_groups):
        raise StudyError(
            f"arms.{name} has training.prefix_below={training.prefix_below}, and its strategy stores no "
            "successes to continue from; add `+ memory` to the strategy, or leave prefix_below out"
        )


def _check_bed(study: Study, name: str, bed: Bed) -> None:
    """Raise unless the warm start fits the testbed's task and every arm can train on its pool."""
    from gdro.study.decoder import load  # torch, which no mistake above should wait for

    testbed, model = load_testbed(bed.task), load(warm_start_path(bed.warm_start))
    shape = (len(testbed.tokens) + 2, testbed.prompt_tokens, testbed.answer_tokens + 1)
    if shape != (model.shape.vocabulary, model.shape.prompt, model.shape.answer):
        raise StudyError(
            f"testbeds.{name}: the warm start {bed.warm_start!r} was not trained for the task "
            f"{bed.task!r} (its vocabulary or lengths differ); use that task's own warm start, or make "
            "one with python studies/make_warm_start.py"
        )
    if bed.variant.sources is not None:
        levels_of(testbed.problems(np.random.default_rng(0), _LOOK), bed.variant.sources)
    for arm_name, arm in study.arms.items():
        batch, strategy = training_of(study, arm).batch, strategy_of(study, arm)
        if not bed.variant.once and batch > study.sizes.train:
            raise StudyError(
                f"training.batch is {batch} for {arm_name!r}, sizes.train is {study.sizes.train}; raise "
                "sizes.train or lower the batch"
            )
        difficulty = difficulty_of({**study.difficulty, **arm.difficulty})
        for wanted in (*strategy.columns, *difficulty.columns):
            if wanted not in (*POOL_COLUMNS, TEXT):
                raise StudyError(
                    f"arms.{arm_name} needs the column {wanted!r}; the pool of a study has "
                    f"{', '.join(POOL_COLUMNS)}, and 'prompt' for a predictor"
                )


def strategy_of(study: Study, arm: StudyArm) -> Strategy[Any]:
    """The strategy of an arm, for the mean rollouts per prompt that it trains with."""
    return named(arm.strategy, arm.options, training_of(study, arm).rollouts)


def missing_placebos(study: Study) -> dict[str, str]:
    """Strategies of the placebo and random arms that a study lacks, by kind."""
    needed = {"placebo": "placebo-weights", "random": "random-rollouts"}
    given = {arm.strategy for arm in study.arms.values()}
    return {kind: strategy for kind, strategy in needed.items() if strategy not in given}


def _check_groups(study: Study, name: str, arm: StudyArm) -> None:
    groups = {bed.group for bed in study.testbeds.values()}
    unknown = sorted(set(arm.groups or []) - groups)
    if unknown:
        raise StudyError(
            f"arms.{name}.groups has {unknown[0]!r}; groups of the testbeds: {', '.join(sorted(groups))}"
        )
    if name == study.control and (arm.groups is not None or arm.seeds is not None):
        raise StudyError(
            f"the control {name!r} has groups or seeds; every arm is compared with it, so remove them"
        )


def training_of(study: Study, arm: StudyArm) -> Training:
    """The study's training options with the arm's own.

    Raises:
        StudyError: An option is unknown or out of range, or spends other rollouts than the study's.
    """
    known = list(Training.__dataclass_fields__)
    for option in arm.training:
        if option not in known:
            raise StudyError(f"an arm's training has no option {option!r}{hint(option, known)}")
    check_kinds("an arm's training", arm.training, Training)
    training = Training(**{**vars(study.training), **arm.training})
    spent = training.num_steps * training.batch * training.rollouts
    wanted = study.training.num_steps * study.training.batch * study.training.rollouts
    if spent != wanted:
        raise StudyError(
            f"an arm's training spends {spent} rollouts, the study's {wanted}; arms are compared at "
            "equal rollouts, so change num_steps, batch and rollouts together"
        )
    return training


def parse_seeds(text: str) -> list[int]:
    """Parse seeds such as `100-111` or `3,5,8-9`.

    >>> parse_seeds("3,5,8-9")
    [3, 5, 8, 9]
    """
    seeds: list[int] = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part, re.ASCII)
        if match is None:
            raise StudyError(f"seeds {text!r} cannot be read; write e.g. 100-111 or 3,5,8-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= _MOST_SEEDS:
            raise StudyError(f"seeds {text[:60]!r} are more than {_MOST_SEEDS:,}; give fewer")
        seeds += range(first, last + 1)
    if not seeds or len(set(seeds)) != len(seeds):
        raise StudyError(f"seeds {text!r} are empty or repeat; list each seed once")
    return seeds


def _check_subset(text: str | None, seeds: list[int], where: str) -> None:
    if text is not None and not set(parse_seeds(text)) <= set(seeds):
        raise StudyError(f"{where} is {text!r}; they must be among the study's seeds")


def warm_start_path(warm_start: str) -> Path:
    """The file of a warm start, given by its shipped name or as a path."""
    shipped = files("gdro.study") / _WARM_STARTS
    named = Path(str(shipped / f"{warm_start}.safetensors"))
    if named.is_file():
        return named
    if Path(warm_start).is_file():
        return Path(warm_start)
    names = sorted(p.name.split(".")[0] for p in shipped.iterdir()) if shipped.is_dir() else []
    raise StudyError(f"no warm start {warm_start!r}; shipped: {', '.join(names)}; or pass a file")
