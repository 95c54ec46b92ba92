"""Remembered rollouts as rows of verl's transfer queue."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch

from gdro.errors import UnsupportedError
from gdro.integrations.verl.queue import Column, RaggedField
from gdro.memory.store import StoredRollout
from gdro.numerics.arrays import IntArray

MEDIA = "multi_modal_inputs"


def stored(prompt: Any, response: Any, mask: Any, reward: float, step: int) -> StoredRollout:
    """The rollout of a row, whose tokens and mask are tensors of one axis."""
    own = mask.numpy().astype(bool)
    return StoredRollout(
        prompt.numpy().astype(np.int32),
        response.numpy().astype(np.int32),
        np.array([reward], np.float32),
        None if own.all() else own,
        step,
    )


def check_tokens_alone(media: Mapping[str, Any] | None) -> None:
    """Refuse a rollout with inputs beside its tokens.

    Raises:
        UnsupportedError: There are images, audio or video, and a memory holds tokens alone.
    """
    if media:
        raise UnsupportedError(
            f"a rollout has {', '.join(media)}, and a memory holds tokens alone; train without images, "
            "audio and video, also as a tool's answer, or with a strategy without a memory, e.g. "
            "+gdro.strategy=rollout-gdro"
        )


def columns_of(
    fields: Mapping[str, Any], rollouts: Sequence[StoredRollout], owns: Sequence[Mapping[str, Any]]
) -> dict[str, Column]:
    """The fields of recalled rollouts after the pattern of a fresh row.

    The queue hands out only fields that every row of a batch has, and refuses other types.

    Args:
        fields: Fields of the fresh row, from which names, types and all that is not of a rollout come.
        rollouts: M recalled rollouts, at least one.
        owns: Fields of each one's prompt, such as its uid; all have the same names.

    Returns:
        M values of each field, by name.

    Raises:
        UnsupportedError: The row has images, audio or video, and a memory holds tokens alone.
    """
    check_tokens_alone(fields.get(MEDIA))
    extra = {**(fields.get("extra_fields") or {}), "reward_extra_info": {}}
    columns: dict[str, Column] = {name: [value] * len(rollouts) for name, value in fields.items()}
    columns |= {name: [own[name] for own in owns] for name in owns[0]}
    columns |= {"num_turns": [_turns(r) for r in rollouts], "extra_fields": [extra] * len(rollouts)}
    columns |= _token_columns(fields, rollouts)
    return {name: columns[name] for name in fields}


def _token_columns(fields: Mapping[str, Any], rollouts: Sequence[StoredRollout]) -> dict[str, Column]:
    """Fields with a value for each token; every one is written once, all rollouts in one array."""
    prompts, answers = [r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts]
    size_M = np.array([len(answer) for answer in answers], np.int64)
    long_M = size_M + np.array([len(prompt) for prompt in prompts], np.int64)
    mask_like, reward_like = fields["response_mask"], fields["rm_scores"]
    if any(r.loss_mask is not None for r in rollouts):
        mask = _joined([r.own for r in rollouts], mask_like)
    else:
        mask = RaggedField(_filled(int(size_M.sum()), 1, mask_like), size_M)
    rewards = _filled(int(size_M.sum()), 0, reward_like)
    rewards[np.cumsum(size_M) - 1] = [float(r.rewards_K[0]) for r in rollouts]
    both = _joined(list(chain.from_iterable(zip(prompts, answers, strict=True))), fields["prompts"])
    columns: dict[str, Column] = {
        "prompts": _joined(prompts, fields["prompts"]),
        "responses": _joined(answers, fields["responses"]),
        "input_ids": RaggedField(both.values, long_M),
        "response_mask": mask,
        "loss_mask": mask,
        "rm_scores": RaggedField(rewards, size_M),
        "position_ids": _positions(fields["position_ids"], long_M),
    }
    if "attention_mask" in fields:
        attention = torch.zeros(0, dtype=torch.int64)
        columns["attention_mask"] = RaggedField(_filled(int(long_M.sum()), 1, attention), long_M)
    if "rollout_log_probs" in fields:  # written when the policy has scored the row
        columns["rollout_log_probs"] = RaggedField(np.zeros(int(size_M.sum()), np.float32), size_M)
    return columns


def _turns(rollout: StoredRollout) -> int:
    """Turns of the prompt, the answer, and of tools and further answers."""
    mask = rollout.loss_mask
    return 2 if mask is None else 2 + int(np.count_nonzero(np.diff(mask)))


def _positions(like: Any, long_M: IntArray) -> Column:
    """Places 0, 1, ... of each row's tokens."""
    longest = np.arange(long_M.max(), dtype=like.numpy().dtype)
    if like.dim() == 1:
        return RaggedField(np.concatenate([longest[:num] for num in long_M.tolist()]), long_M)
    # Several axes in models whose text has one position on each of them.
    every = torch.from_numpy(longest).expand(*like.shape[:-1], -1)
    return [every[..., :num] for num in long_M.tolist()]


def _joined(arrays: Sequence[npt.NDArray[Any]], like: Any) -> RaggedField:
    """Arrays one after another, of a tensor's type."""
    return RaggedField(
        np.concatenate(arrays, dtype=like.numpy().dtype),
        np.array([len(array) for array in arrays], np.int64),
    )


def _filled(num: int, value: int, like: Any) -> npt.NDArray[Any]:
    return np.full(num, value, like.numpy().dtype)


def tag_of(rollout: StoredRollout, tag: Mapping[str, Any]) -> dict[str, Any]:
    """verl's tag of a recalled row, from a fresh row's."""
    prompt, response = len(rollout.prompt_ids), len(rollout.completion_ids)
    version = rollout.step - 1  # verl numbers weights by the step after which they were sent
    return {
        **tag,
        "prompt_len": prompt,
        "response_len": response,
        "seq_len": prompt + response,
        "min_global_steps": version,
        "max_global_steps": version,
    }


def dataset_fields(
    table: Any, prompts: Sequence[int], names: Collection[str], prompt_key: str
) -> list[dict[str, Any]]:
    """Fields that verl's dataset gives the rows of these prompts, of those that rows have."""
    if not len(prompts):
        return []
    columns = [name for name in table.column_names if name in names]
    selected = table.select_columns(list(dict.fromkeys([*columns, prompt_key])))
    # Of one piece before it is read: Arrow would read each row as a piece of its own.
    arrow = selected.with_format("arrow")[list(prompts)].combine_chunks()
    taken: Any = datasets.Dataset(arrow, info=selected.info, fingerprint="recalled")[:]
    rows = [{name: taken[name][m] for name in columns} for m in range(len(prompts))]
    for m, row in enumerate(rows):
        row["raw_prompt"] = taken[prompt_key][m]
        row["index"] = (row.get("extra_info") or {}).get("index", 0)
    return rows
