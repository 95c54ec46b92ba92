"""Seconds of generation and of a step, against what the hardware could do."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gdro.integrations.trl.static_decode import StaticDecoder, _linear


def device_name() -> str:
    """What the training runs on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"


def ceilings(device: torch.device) -> dict[str, float]:
    """Bytes a second of a copy (read and written) and operations a second of a bfloat16 product."""
    cuda = device.type == "cuda"
    size, side = (2**30, 8192) if cuda else (2**24, 512)
    a = torch.randn(size // 4, device=device)
    b = torch.empty_like(a)
    m = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    copy = seconds(lambda: b.copy_(a), device, 10)
    product = seconds(lambda: m @ m, device, 10)
    return {"bytes_a_second": 2 * 4 * a.numel() / copy, "flops_a_second": 2 * side**3 / product}


def seconds(run: Callable[[], Any], device: torch.device, times: int, warm: int = 2) -> float:
    """Median seconds of a call."""
    found = []
    for turn in range(warm + times):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        if turn >= warm:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def generation(
    model: Any, rows: int, width: int, new: int, limits: dict[str, float], *, others: bool = True
) -> list[dict[str, Any]]:
    """Milliseconds a token of the static decoder, its step without a graph, and transformers.

    Args:
        model: On its device, under whatever autocast is entered.
        rows: Completions at once.
        width: Tokens of the prompts.
        new: Tokens of each completion; none ends earlier.
        limits: Of `ceilings`.
        others: Whether to time the slow ways too.
    """
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(3, vocabulary, (rows, width), device=device)
    mask = torch.ones_like(ids)
    options = {
        "attention_mask": mask,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "eos_token_id": -1,
        "pad_token_id": 0,
    }
    ways: dict[str, Callable[[int], Any]] = {}
    decoder, plain = StaticDecoder(), StaticDecoder(capture=False)
    ways["static, graph"] = lambda n: decoder.generate(model, ids, max_new_tokens=n, **options)
    if others:
        ways["static, launched"] = lambda n: plain.generate(model, ids, max_new_tokens=n, **options)
        ways["transformers"] = lambda n: model.generate(input_ids=ids, max_new_tokens=n, **options)
    found = []
    floor = _floor(model, rows, width + new / 2, limits)
    for name, way in ways.items():
        times, warm = (3, 1) if name == "static, graph" else (1, 0)
        short, whole = max(2, new // 8), new
        way(short)
        first = seconds(lambda: way(2), device, times, 1)  # noqa: B023
        all_of_it = seconds(lambda: way(whole), device, times, warm)  # noqa: B023
        each = (all_of_it - first) / (whole - 2)
        found.append(
            {
                "way": name,
                "rows": rows,
                "prompt": width,
                "new": new,
                "seconds": all_of_it,
                "prefill_seconds": first,
                "ms_a_token": 1e3 * each,
                "floor_ms": 1e3 * floor,
                "flops_share": _flops(model) * rows / each / limits["flops_a_second"],
            }
        )
    return found


def _flops(model: Any) -> float:
    """Operations of one token of one row in the layers' products."""
    return 2.0 * sum(weight.numel() for name, weight in _linear(model) if name.endswith("weight"))


def _floor(model: Any, rows: int, length: float, limits: dict[str, float]) -> float:
    """Seconds that one token of all rows takes to read weights and cache in bfloat16, half of a copy's
    bytes being reads."""
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * width * rows * length
    return (_flops(model) + cache) / limits["bytes_a_second"]


def agreement(model: Any, tokenizer: Any, prompts: list[str], new: int, cast: bool) -> dict[str, float]:
    """The decoder against transformers: greedy tokens, and how likely sampled tokens are to the trainer.

    Returns:
        `greedy_float32` and `greedy`: share of completions that are the same; `ours` and `theirs`: mean
        log-probability of a sampled token by a forward pass as in training, with its standard error.
    """
    device = next(model.parameters()).device
    inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    decoder, found = StaticDecoder(), {}
    greedy = {
        "attention_mask": mask,
        "do_sample": False,
        "max_new_tokens": new,
        "pad_token_id": tokenizer.pad_token_id,
    }
    drawn = {**greedy, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    for name, on in (("greedy_float32", False), ("greedy", cast)):
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=on):
            mine = decoder.generate(model, ids, **greedy)
            other = model.generate(input_ids=ids, **greedy)
        found[name] = _same(mine, other, ids.shape[1])
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=cast):
        for name, out in (
            ("ours", decoder.generate(model, ids, **drawn)),
            ("theirs", model.generate(input_ids=ids, **drawn)),
        ):
            mean, error = _likely(model, out, mask, tokenizer)
            found |= {name: mean, f"{name}_error": error}
    return found


def _same(a: torch.Tensor, b: torch.Tensor, width: int) -> float:
    long = max(a.shape[1], b.shape[1])
    a, b = (torch.nn.functional.pad(x, (0, long - x.shape[1])) for x in (a, b))
    least = min(long, a.shape[1])
    return float((a[:, width:least] == b[:, width:least]).all(1).float().mean())


def _likely(model: Any, out: torch.Tensor, mask: torch.Tensor, tokenizer: Any) -> tuple[float, float]:
    width = mask.shape[1]
    tail = out[:, width:]
    is_end = tail == tokenizer.eos_token_id
    kept = (is_end.cumsum(1) - is_end.int()) == 0
    whole = torch.cat([mask, kept.long()], dim=1)
    places = (whole.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=out, attention_mask=whole, position_ids=places).logits
    each = torch.log_softmax(logits[:, width - 1 : -1].float(), -1).gather(-1, tail[..., None])[..., 0]
    rows = (each * kept).sum(1) / kept.sum(1)
    return float(rows.mean()), float(rows.std() / len(rows) ** 0.5)
