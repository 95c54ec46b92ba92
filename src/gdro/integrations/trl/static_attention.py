"""Attention of one new token a row, in which query heads share key heads without copies of the keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PACKED = "gdro_packed"


def packed_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    """PyTorch's attention for one token a row, without a copy of keys for each head that shares them.

    Query heads that share a key head become several queries of it, which gives the same sums. `query`
    has shape (R, heads, 1, width), `key` and `value` (R, key heads, tokens, width), and `mask`
    (R, 1, 1, tokens).
    """
    rows, heads, length, width = query.shape
    groups = key.shape[1]
    if length != 1 or heads == groups:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    # PyTorch's flash kernel takes no mask, and cuDNN's plans for one query are slow to make.
    kinds = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kinds) if query.is_cuda else nullcontext():
        query = query.reshape(rows, groups, heads // groups, width)
        scale = options.get("scaling")
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return attended.reshape(rows, 1, heads, attended.shape[-1]), None


AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def packed(model: Any) -> Iterator[None]:
    """Inside, a model with PyTorch's attention uses `packed_attention`."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before == "sdpa":
        config._attn_implementation = PACKED
    try:
        yield
    finally:
        config._attn_implementation = before
