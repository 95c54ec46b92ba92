"""A remembered rollout as a row of verl's transfer queue."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gdro.errors import UnsupportedError
from gdro.memory.store import StoredRollout

_MEDIA = "multi_modal_inputs"


def stored(prompt: Any, response: Any, mask: Any, reward: float, step: int) -> StoredRollout:
    """The rollout of a row, whose tokens and mask are tensors of one axis."""
    own = mask.bool().numpy()
    return StoredRollout(
        prompt.numpy().astype(np.int32),
        response.numpy().astype(np.int32),
        np.array([reward], np.float32),
        None if own.all() else own,
        step,
    )


class RowMaker:
    """Makes rows of recalled rollouts after the pattern of a fresh one.

    The queue hands out only fields that every row of a batch has, and refuses other types.

    Args:
        fields: Fields of the fresh row, from which names, types and all that is not of the rollout come.

    Raises:
        UnsupportedError: The row has images, audio or video, and a memory holds tokens alone.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        if fields.get(_MEDIA):
            raise UnsupportedError(
                f"a rollout has {', '.join(fields[_MEDIA])}, and a memory holds tokens alone; train "
                "without images, audio and video, or with a strategy without a memory, e.g. "
                "+gdro.strategy=rollout-gdro"
            )
        self._fields = dict(fields)
        self._extra = {**(fields.get("extra_fields") or {}), "reward_extra_info": {}}
        self._size = 0
        self._parts: dict[str, torch.Tensor] = {}

    def __call__(self, rollout: StoredRollout, own: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a recalled rollout; `own` has those of its prompt, such as its uid."""
        fields, num = self._fields, len(rollout.completion_ids)
        prompts = _like(fields["prompts"], rollout.prompt_ids)
        responses = _like(fields["responses"], rollout.completion_ids)
        ids = torch.cat([prompts, responses])
        own_mask = rollout.loss_mask
        mask, turns = self._cut("mask", num), 2  # the prompt's and the answer's
        if own_mask is not None:
            mask = _like(fields["response_mask"], own_mask)
            turns += int(np.count_nonzero(np.diff(own_mask)))
        rewards = self._cut("rewards", num).clone()
        rewards[-1] = float(rollout.rewards_K[0])
        values = {
            "prompts": prompts,
            "responses": responses,
            "input_ids": ids,
            "attention_mask": self._cut("attention", len(ids)),
            "position_ids": self._cut("places", len(ids)),
            "response_mask": mask,
            "loss_mask": mask,
            "rm_scores": rewards,
            # Written when the policy has scored the row.
            "rollout_log_probs": self._cut("logps", num),
            "num_turns": turns,
            "extra_fields": self._extra,
            **own,
        }
        return {**fields, **{name: value for name, value in values.items() if name in fields}}

    def _cut(self, name: str, length: int) -> torch.Tensor:
        """The start of a tensor that is the same in all rows; writing the rows copies it."""
        if length > self._size:
            self._size = 2 * length
            self._parts = self._shared(self._size)
        return self._parts[name][..., :length]

    def _shared(self, size: int) -> dict[str, torch.Tensor]:
        position = self._fields["position_ids"]
        return {
            "mask": torch.ones(size, dtype=self._fields["response_mask"].dtype),
            "attention": torch.ones(size, dtype=torch.int64),
            # Several axes in models whose text has one position on each of them.
            "places": torch.arange(size, dtype=position.dtype).expand(*position.shape[:-1], -1),
            "rewards": torch.zeros(size, dtype=self._fields["rm_scores"].dtype),
            "logps": torch.zeros(size, dtype=torch.float32),
        }


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
    taken: Any = table.select_columns(list(dict.fromkeys([*columns, prompt_key])))[list(prompts)]
    rows = [{name: taken[name][m] for name in columns} for m in range(len(prompts))]
    for m, row in enumerate(rows):
        row["raw_prompt"] = taken[prompt_key][m]
        row["index"] = (row.get("extra_info") or {}).get("index", 0)
    return rows


def _like(tensor: Any, values: Any) -> torch.Tensor:
    return torch.from_numpy(values).to(tensor.dtype)
