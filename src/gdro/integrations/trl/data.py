"""Early checks of a trainer's data: the dataset, its size and its copies; and of paths and names."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from gdro.errors import ProblemError, UnsupportedError
from gdro.numerics.arrays import IntArray
from gdro.strategy import Strategy

_LARGEST_SEED = 2**32 - 1
_TABLES = ("pandas", "polars", "arrow")
"""Formats of a `datasets.Dataset` whose rows are no dictionaries."""


def check_dataset(train_dataset: Any) -> None:
    """Raise an UnsupportedError unless this is a `datasets.Dataset`, naming the call that makes one."""
    if isinstance(train_dataset, Dataset):
        if not len(train_dataset):
            raise ProblemError("train_dataset is empty: it has no rows; look at what filtered them out")
        kind = train_dataset.format["type"]
        if kind in _TABLES:
            raise UnsupportedError(
                f"train_dataset has the format {kind!r}, in which a row is a table; the trainer needs "
                "rows that are dictionaries: pass train_dataset.with_format(None)"
            )
        return
    if train_dataset is None:
        raise UnsupportedError("train_dataset is missing; gdro plans over its rows")
    if isinstance(train_dataset, IterableDataset):
        raise UnsupportedError(
            "train_dataset is an IterableDataset; plans need rows by index, so pass a map-style "
            "datasets.Dataset (e.g. Dataset.from_generator)"
        )
    kind = type(train_dataset).__name__
    if isinstance(train_dataset, Mapping):  # a DatasetDict is one
        split = next(iter(train_dataset), None)
        fix = f"pass one of its splits, e.g. train_dataset=data[{split!r}]" if split else "it is empty"
    elif kind == "DataFrame":
        fix = "pass datasets.Dataset.from_pandas(frame)"
    elif isinstance(train_dataset, Sequence) and not isinstance(train_dataset, str):
        fix = "pass datasets.Dataset.from_list(rows)"
    else:
        fix = "load one with datasets.load_dataset, or make one with Dataset.from_list or from_generator"
    raise UnsupportedError(f"train_dataset is a {kind}; a map-style datasets.Dataset is needed: {fix}")


def check_options(config: Any) -> None:
    """Refuse options that the trainer would fail on later.

    Raises:
        UnsupportedError: The seed is negative or too large, or `output_dir` is a file or inside one.
    """
    if config is None:
        return
    if not 0 <= config.seed <= _LARGEST_SEED:
        raise UnsupportedError(f"args.seed is {config.seed}; allowed: 0 to {_LARGEST_SEED}")
    folder = Path(config.output_dir)
    file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if file is not None:
        inside = "" if file == folder else f", and {file} is a file"
        raise UnsupportedError(
            f"args.output_dir is {str(folder)!r}{inside or ', which is a file'}; give a folder, or a "
            "path that does not exist yet"
        )


def check_names(names: Sequence[str], correct: Any) -> None:
    """Refuse `correct=` by a name that two reward functions have, and warn if only their logs mix.

    Raises:
        UnsupportedError: `correct` names one of them.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return
    places = [str(i) for i, name in enumerate(names) if name == twice[0]]
    both = f"reward functions {' and '.join(places)} are both called {twice[0]!r}"
    fix = "give one of them another name, e.g. reward.__name__ = 'other'"
    items = correct if isinstance(correct, list | tuple) else [correct]
    if any(item in twice for item in items if isinstance(item, str)):
        raise UnsupportedError(f"correct={correct!r} fits two: {both}; {fix}")
    warnings.warn(f"{both}: the trainer logs them as one; {fix}", stacklevel=3)


def check_size(num_rows: int, num_prompts: int, args: Any, selects: bool) -> None:
    """Refuse a dataset with fewer prompts than one step takes: the trainer would train no step.

    If the strategy selects the prompts of a step, distinct prompts count, otherwise rows.

    Raises:
        ProblemError: There are too few.
    """
    needed = args.generation_batch_size // args.num_generations
    have = num_prompts if selects else num_rows
    if have >= needed:
        return
    what = "distinct prompts" if selects else "rows"
    raise ProblemError(
        f"train_dataset has {have} {what}, and a step needs {needed} prompts (generation_batch_size "
        f"{args.generation_batch_size} / num_generations {args.num_generations}), so that no step would "
        "be trained; add prompts, lower per_device_train_batch_size or gradient_accumulation_steps, or "
        "raise num_generations"
    )


def check_copies(count_N: IntArray, strategy: Strategy[Any], rows: int, mean: int) -> None:
    """Refuse copies that could leave a step with too few prompts for its rollouts.

    Args:
        count_N: Rows of each prompt, shape (N,); where it is above 1, they are exact copies.
        strategy: Its bounds count.
        rows: Rows of the dataset that a step takes.
        mean: Mean number of rollouts of each.

    Raises:
        ProblemError: The strategy's bounds on a prompt's rollouts then leave some without a prompt.
    """
    bounds = strategy.bounds
    if bounds is None or count_N.max() == 1:
        return
    fewest = 1 + int(np.searchsorted(np.cumsum(-np.sort(-count_N)), rows))
    if fewest * bounds.n_max >= rows * mean:
        return
    raise ProblemError(
        f"train_dataset has exact copies, {int(count_N.max())} of one row, and copies are one prompt: "
        f"the {rows} rows of a step may be {fewest} prompt{'s' * (fewest > 1)}, {bounds.strategy} gives "
        f"one at most n_max={bounds.n_max} rollouts, and a step has {rows * mean}. Drop "
        "copies, or tell them apart with a column: "
        "train_dataset.add_column('id', list(range(len(train_dataset)))) and id_column='id'"
    )
