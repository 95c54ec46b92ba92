"""The interface of tasks: data, rewards and model, for recipes and dry runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from gdro.errors import GdroError


class TaskError(GdroError):
    """A task's model or data cannot be loaded."""


@dataclass(frozen=True)
class TaskData:
    """Everything a recipe needs to train and evaluate.

    Attributes:
        train: Training rows with `prompt`, `answer` and `prompt_id`.
        heldout: Held-out rows with the same columns and other prompts.
        reward_funcs: TRL reward functions; the first one measures correctness (above .5 is right).
        model: A fresh model to train.
        tokenizer: The model's tokenizer, padding on the left.
    """

    train: Dataset
    heldout: Dataset
    reward_funcs: list[Callable[..., list[float]]]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class DryTask:
    """A task for a dry run.

    A task module may have `dry_load(seed, folder, architecture, **task_options) -> DryTask`; without it
    a dry run loads the task as usual and replaces its model by a tiny one.

    Attributes:
        task: The task with a tiny model; its data may be synthetic.
        config: Configuration of the real model.
    """

    task: TaskData
    config: PretrainedConfig
