"""Turns: tools, environments and rollout functions, which write tokens of a completion themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F

from gdro.errors import OutcomeError

_TOKENS = ("prompt_ids", "completion_ids", "logprobs", "env_mask")
"""Fields of a rollout function's answer that have one item for each prompt, or are None."""


def loss_mask(batch: Mapping[str, Any]) -> torch.Tensor:
    """1 for each token that the loss takes, shape (rows, T): the model's own, without padding."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def elsewhere(trainer: Any) -> str | None:
    """The argument of a trainer that has a part in every rollout, None if there is none."""
    if trainer.environment_factories is not None:
        return "environment_factory"
    return None if trainer.rollout_func is None else "rollout_func"


def warn_of_no_memory(trainer: Any) -> None:
    """Warn if every rollout is an episode where a memory stores none."""
    used = elsewhere(trainer)
    if used is not None and trainer.accelerator.is_main_process:
        warnings.warn(
            f"memory_episodes=False with {used}: every rollout is an episode, so the memory stays "
            "empty; a strategy without one does the same, e.g. strategy='rollout-gdro'",
            stacklevel=4,
        )


def turns(batch: Mapping[str, Any]) -> torch.Tensor:
    """Number of unbroken stretches of tokens that the loss takes, shape (rows,)."""
    mask = loss_mask(batch).bool()
    before = F.pad(mask[:, :-1], (1, 0))
    return (mask & ~before).sum(dim=1)


class TokenCounter:
    """Counts the tokens that a trainer generates, before any are masked out of the loss.

    With `mask_truncated_completions` the masks of a truncated completion are zero, which it is not.
    """

    _gdro_tokens: Sequence[int] = ()  # of this rank's rows, as they were generated last

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        generated = cast("Any", super())._generate(*args, **kwargs)
        completions, masks = generated[1], generated[2]
        self._gdro_tokens = list(map(len, completions)) if masks is None else list(map(sum, masks))
        return generated


class TurnCounter:
    """Turns of the rollouts of one step, where tokens may come from elsewhere than the model."""

    def __init__(self) -> None:
        self._turns, self._rows, self._masked = 0, 0, False

    def see(self, batch: Mapping[str, Any]) -> None:
        """Count the turns of one round's rows, without those that are masked out whole."""
        if "tool_mask" not in batch:
            return
        turns_R = turns(batch)
        self._turns += int(turns_R.sum())
        self._rows += int((turns_R > 0).sum())
        self._masked = True

    def pop(self, accelerator: Any) -> dict[str, float]:
        """Mean over the rows of all ranks since the last call; empty if no batch had a tool mask."""
        here, seen = [[float(self._turns), float(self._rows)]], self._masked
        self._turns, self._rows, self._masked = 0, 0, False
        if not seen:
            return {}
        total, rows = accelerator.gather(torch.tensor(here, device=accelerator.device)).sum(0).tolist()
        return {"turns": total / max(rows, 1.0)}


class CheckedRollouts:
    """A rollout function, as `rollout_func` of GRPOTrainer, whose answers are checked.

    Args:
        function: The user's function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = str(getattr(function, "__name__", type(function).__name__))

    def __call__(self, prompts: list[Any], trainer: Any) -> Any:
        """What the function returns.

        Raises:
            OutcomeError: It has not one completion for each prompt.
        """
        output = self.function(prompts, trainer)
        fault = _fault(output, len(prompts))
        if fault:
            raise OutcomeError(
                f"rollout_func={self.name} returned {fault}; it must return a dictionary with one item "
                "in prompt_ids, completion_ids and logprobs (and env_mask, where tokens are not the "
                "model's) for each prompt that it is given, in their order; logprobs, or None, and "
                "env_mask, 0 or 1, have a value for each token. A prompt comes as often as "
                "it has rollouts, which differs from prompt to prompt, so never take prompts[::n] or "
                "complete one num_generations times"
            )
        return output


def _fault(output: Any, num: int) -> str:
    """What is wrong with a rollout function's answer to `num` prompts; empty if nothing."""
    if not isinstance(output, Mapping):
        return f"a {type(output).__name__}"
    fields = cast("Mapping[str, Any]", output)
    missing = next((name for name in _TOKENS[:3] if name not in fields), None)
    if missing is not None:
        return f"no {missing}"
    for name, values in fields.items():
        if name in _TOKENS and values is not None and len(values) != num:
            return f"{len(values)} {name} for {num} prompts"
        if isinstance(values, list) and len(cast("list[Any]", values)) < num:
            return f"{len(cast('list[Any]', values))} values of {name!r} for {num} prompts"
    absent = next((name for name in _TOKENS[:2] if fields[name] is None), None)
    if absent is not None:
        return f"None for {absent}"
    completions: Sequence[Any] = fields["completion_ids"]
    empty = next((row for row, ids in enumerate(completions) if not len(ids)), None)
    if empty is not None:
        return f"no tokens in completion {empty}"
    return _fault_of_tokens(fields)


def _fault_of_tokens(fields: Mapping[str, Any]) -> str:
    """What is wrong with the values that a rollout function gave for each token; empty if nothing."""
    for name, article in (("logprobs", ""), ("env_mask", "an ")):
        given: Sequence[Any] | None = fields.get(name)
        if given is None:
            continue
        for row, (values, ids) in enumerate(zip(given, fields["completion_ids"], strict=True)):
            if values is None or len(values) != len(ids):
                size = "None" if values is None else len(values)
                return f"{article}{name} of {size} for the {len(ids)} tokens of completion {row}"
            if name == "env_mask" and any(value not in (0, 1) for value in values):
                return f"an env_mask with values other than 0 and 1 for completion {row}"
    return ""


def with_tool_mask(batch: dict[str, Any]) -> dict[str, Any]:
    """A rollout function's batch with a tool mask, all ones where the function gave none.

    All rounds and ranks then have the same tensors, whichever of them the function gave a mask.
    """
    return {"tool_mask": torch.ones_like(batch["completion_mask"])} | batch
