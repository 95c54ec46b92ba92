"""What a task gives to a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from gdro.errors import GdroError


class TaskError(GdroError):
    """A task's model or data are not to be had."""


@dataclass(frozen=True)
class TaskData:
    """Everything a recipe needs to train and evaluate.

    Attributes:
        train: Rows with `prompt`, `answer` and `prompt_id`.
        heldout: The same columns, prompts that are not in `train`.
        reward_funcs: TRL reward functions; the first one measures correctness (above .5 is right).
        model: A fresh model to train.
        tokenizer: Its tokenizer, padding on the left.
    """

    train: Dataset
    heldout: Dataset
    reward_funcs: list[Callable[..., list[float]]]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class DryTask:
    """A task as a dry run trains it.

    A task module may have `dry_load(seed, folder, architecture, **task_options) -> DryTask`; without it
    a dry run loads the task as it is and makes its model tiny.

    Attributes:
        task: With a tiny model; its data may be made up.
        config: Of the real model.
    """

    task: TaskData
    config: PretrainedConfig
