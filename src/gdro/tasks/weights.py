"""Weights of a model, by content."""

from __future__ import annotations

import hashlib
from typing import Any


def digest(model: Any) -> str:
    """Hash of a model's weights."""
    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]
