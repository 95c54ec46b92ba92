"""Every call of TransferQueue that the adapter makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import transfer_queue as tq

from gdro.errors import OutcomeError
from gdro.types import FloatArray


def reward_extra(keys: list[str], partition: str, name: str) -> FloatArray:
    """A key of the reward function's extra results for each row, shape (B,).

    Raises:
        OutcomeError: A row lacks it.
    """
    data: Any = tq.kv_batch_get(keys=keys, partition_id=partition, select_fields=["extra_fields"])
    found = [
        getattr(value, "data", value).get("reward_extra_info", {}) for value in data["extra_fields"]
    ]
    lacking = next((extra for extra in found if name not in extra), None)
    if lacking is not None:
        raise OutcomeError(
            f"+gdro.correct={name}: a rollout's reward has no {name!r}, it has "
            f"{', '.join(lacking) or 'nothing extra'}; return it from compute_score, or leave it out"
        )
    return np.array([float(extra[name]) for extra in found])
