"""Attention of one new token a row, whose query heads share key heads without a copy of the keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PACKED = "gdro_packed"


def packed_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    """PyTorch's attention for one token a row, without a copy of keys for each head that shares them.

    The query heads of one key head become that many queries of it, which is the same sum.

    Args:
        module: The attention layer.
        query: Shape (R, heads, 1, width).
        key: Shape (R, key heads, tokens, width).
        value: As `key`.
        mask: Added to the scores, shape (R, 1, 1, tokens).
        **options: Of `sdpa_attention_forward`.

    Returns:
        Shape (R, 1, heads, width), and None for the weights.
    """
    rows, heads, length, width = query.shape
    groups = key.shape[1]
    if length != 1 or heads == groups:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    # Its flash kernel takes no mask, and cuDNN's plans for one query are slow to make.
    kinds = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kinds) if query.is_cuda else nullcontext():
        found = torch.nn.functional.scaled_dot_product_attention(
            query.reshape(rows, groups, heads // groups, width), key, value, attn_mask=mask,
            scale=options.get("scaling"),
        )  # fmt: skip
    return found.reshape(rows, 1, heads, found.shape[-1]), None


AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def packed(model: Any) -> Iterator[None]:
    """A model whose own attention is PyTorch's uses `packed_attention` inside."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before == "sdpa":
        config._attn_implementation = PACKED
    try:
        yield
    finally:
        config._attn_implementation = before
