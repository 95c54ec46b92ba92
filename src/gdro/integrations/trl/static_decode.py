"""Fast generation for small models: a static cache, and one replayed CUDA graph for each token.

Transformers launches some two thousand kernels a token, and a small model on a large GPU waits for the
launches. Here the whole step of one token, sampling included, is captured once and replayed; on a CPU
the same code runs without a graph.

TRL's own options do not help: TRL turns compilation off (`disable_compile`), so that kernels are
launched one by one with a static cache too, and its continuous batching casts the trained weights to
bfloat16, in which small updates are lost.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, GenerationConfig

from gdro.errors import UnsupportedError
from gdro.integrations.trl.static_attention import packed

# Fields of a GenerationConfig that must be None or this: only the temperature may shape samples.
_PLAIN = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "stop_strings": None,
    "suppress_tokens": None,
    "forced_eos_token_id": None,
}


class StaticDecoder:
    """Completes prompts as `model.generate` does with sampling at a temperature, or greedily.

    Weights of linear layers are cast once a call to the type of the autocast that the model's forward
    enters (TRL's `bf16`), which is what autocast does to them at every token; everything else is as in
    `generate`, so that the rollouts come from the policy whose log-probabilities the loss takes.

    Args:
        bucket: Prompts are padded to a multiple of this number of tokens; each width is captured once.
        check_every: Number of tokens between checks whether every row has ended.
        graphs: Most captured shapes; each has a cache of keys and values.
        capture: False runs without CUDA graphs.

    Raises:
        UnsupportedError: A number is below 1.
    """

    def __init__(
        self, bucket: int = 32, check_every: int = 8, graphs: int = 6, capture: bool = True
    ) -> None:
        for name, value in (("bucket", bucket), ("check_every", check_every), ("graphs", graphs)):
            if value < 1:
                raise UnsupportedError(f"{name} is {value}; it must be at least 1")
        self.bucket, self.check_every, self.graphs, self.capture = bucket, check_every, graphs, capture
        self._runs: OrderedDict[tuple[Any, ...], _Run] = OrderedDict()
        self._model: Any = lambda: None
        self._places: tuple[int, ...] = ()
        self._cast: dict[torch.dtype, dict[str, torch.Tensor]] = {}

    @contextmanager
    def standing_in(self, model: Any) -> Iterator[None]:
        """Inside, `model.generate` is this decoder's."""
        model.generate = lambda *args, **options: self.generate(model, *args, **options)
        try:
            yield
        finally:
            del model.generate

    def check(self, model: Any, config: GenerationConfig) -> None:
        """Raise an UnsupportedError for a configuration with which no prompt could be completed."""
        check_window(model, _Wanted.of(model, config, {}).longest)

    @torch.no_grad()
    def generate(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Complete each prompt once.

        Args:
            model: A causal language model on one device.
            input_ids: Prompts, padded on the left, shape (R, width).
            attention_mask: 1 for tokens and 0 for padding, shape (R, width); default: all tokens.
            generation_config: As for `model.generate`; the model's fills in what it does not set.
            **options: Fields of the configuration, which they override.

        Returns:
            Prompts and completions, padded after the first end token, shape (R, width + longest).

        Raises:
            UnsupportedError: An option changes the distribution other than by temperature, or a text may
                be longer than the model's sliding window of attention.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        wanted = _Wanted.of(model, generation_config, options)
        rows, width = input_ids.shape
        padded, wide = _capacity(rows), -(-width // self.bucket) * self.bucket
        check_window(model, wide + wanted.longest)
        was_training = model.training
        model.eval()
        try:
            run = self._run(model, padded, wide, wanted)
            ids = input_ids.new_full((padded, wide), wanted.pad)
            mask = attention_mask.new_zeros((padded, wide))
            ids[:rows, wide - width :], mask[:rows, wide - width :] = input_ids, attention_mask
            mask[rows:, -1] = 1  # rows that only fill the shape attend to one token, and have ended
            run.begin(model, ids, mask, rows)
            completions = run.finish(model, self.check_every)
        finally:
            model.train(was_training)
        return torch.cat([input_ids, completions], dim=1)

    def _run(self, model: Any, rows: int, width: int, wanted: _Wanted) -> _Run:
        """The run of a shape; all are captured again if the model or its tensors are others."""
        places = tuple(t.data_ptr() for t in (*model.parameters(), *model.buffers()))
        if self._model() is not model or places != self._places:
            self._runs.clear()
            self._cast.clear()
            self._model, self._places = weakref.ref(model), places
        kind = next(model.parameters()).device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        # Accelerate and TRL replace the forward of a model, for instance by one under autocast.
        key = (rows, width, wanted, cast, vars(model).get("forward"))
        if key not in self._runs:
            while len(self._runs) >= self.graphs:
                self._runs.popitem(last=False)
            self._runs[key] = _Run(model, rows, width, wanted, self.capture, self._cast)
        self._runs.move_to_end(key)
        return self._runs[key]


def check_window(model: Any, length: int) -> None:
    """Raise an UnsupportedError if a layer's sliding window is shorter than a text of this length."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    slides = "sliding_attention" in kinds and getattr(config, "use_sliding_window", True)
    if window and slides and length > window:
        raise UnsupportedError(
            f"prompt and completion may take {length} tokens, the model's sliding window is {window}; "
            "leave generation='trl', which knows such caches, or shorten max_completion_length"
        )


def _capacity(rows: int) -> int:
    """Rows of the shape for a batch size: a power of two, or a multiple of 64."""
    return 1 << (rows - 1).bit_length() if rows < 64 else -(-rows // 64) * 64


@dataclass(frozen=True)
class _Wanted:
    """Options of a run: longest completion, temperature (0: greedy), end tokens, padding token."""

    longest: int
    temperature: float
    ends: tuple[int, ...]
    pad: int

    @classmethod
    def of(cls, model: Any, config: GenerationConfig | None, options: dict[str, Any]) -> _Wanted:
        places = (options, *(vars(c) for c in (config, model.generation_config) if c is not None))

        def value(name: str) -> Any:
            return next((p[name] for p in places if p.get(name) is not None), None)

        for name, plain in _PLAIN.items():
            if value(name) not in (None, plain):
                raise UnsupportedError(
                    f"static generation samples at a temperature alone, and {name} is {value(name)!r}; "
                    f"set it to {plain!r}, or leave generation='trl'"
                )
        longest, ends = value("max_new_tokens"), value("eos_token_id")
        if not longest:
            raise UnsupportedError("static generation needs max_new_tokens, and it is not set")
        ends = () if ends is None else tuple(ends) if isinstance(ends, (list, tuple)) else (int(ends),)
        pad = value("pad_token_id")
        pad = pad if pad is not None else ends[0] if ends else 0
        warm = float(value("temperature") or 1.0) if value("do_sample") else 0.0
        return cls(int(longest), warm, ends, int(pad))


class _Slots(Cache):
    """Keys and values of all rows; the prompt's are written at once, then one token at `at`."""

    def __init__(self, rows: int, length: int, at: torch.Tensor) -> None:
        super().__init__(layers=[])
        self.rows, self.length, self.at = rows, length, at
        self.states: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any) -> Any:
        new = key_states, value_states
        if layer_idx == len(self.states):
            self.states.append(tuple(self._empty(states) for states in new))  # pyright: ignore
        for place, states in zip(self.states[layer_idx], new, strict=True):
            if states.shape[2] > 1:
                place[:, :, : states.shape[2]] = states
            else:
                place.index_copy_(2, self.at, states.to(place.dtype))
        return new if key_states.shape[2] > 1 else self.states[layer_idx]

    def _empty(self, states: torch.Tensor) -> torch.Tensor:
        kind = states.device.type
        # Under autocast rotation leaves keys in float32, and attention casts them: cast once, here.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        shape = (self.rows, states.shape[1], self.length, states.shape[3])
        return torch.zeros(shape, dtype=dtype, device=states.device)

    def get_seq_length(self, layer_idx: int = 0) -> int:  # positions are always given
        return 0


class _Run:
    """One shape: its cache, the tensors that a step reads and writes, and on a GPU its graph."""

    def __init__(
        self,
        model: Any,
        rows: int,
        width: int,
        wanted: _Wanted,
        capture: bool,
        cast: dict[torch.dtype, dict[str, torch.Tensor]],
    ) -> None:
        device = next(model.parameters()).device
        self.longest, self.temperature, self.pad = wanted.longest, wanted.temperature, wanted.pad
        length = -(-(width + self.longest) // 16) * 16  # attention kernels need aligned masks
        self.width, self.real = width, rows
        self.at = torch.full((1,), width, device=device)
        self.cache = _Slots(rows, length, self.at)
        self.ends = torch.tensor(wanted.ends, dtype=torch.long, device=device)
        self.token_R1 = torch.zeros((rows, 1), dtype=torch.long, device=device)
        self.place_R1 = torch.zeros_like(self.token_R1)
        self.over_R = torch.zeros(rows, dtype=torch.bool, device=device)
        self.count = torch.zeros(1, dtype=torch.long, device=device)
        self.written = torch.full((rows, self.longest), self.pad, device=device)
        self.dtype, self.cast_to = _dtypes(model, device)
        # One copy of the weights for all shapes.
        self.cast = {} if self.cast_to is None else cast.setdefault(self.cast_to, {})
        self.low = torch.finfo(self.dtype).min
        self.bias = torch.full((rows, 1, 1, length), self.low, dtype=self.dtype, device=device)
        self.graph: Any = None
        if capture and device.type == "cuda":
            self._capture(model)

    def begin(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, rows: int) -> None:
        """Read the prompts, and choose the first token of each completion."""
        self._refresh(model)
        self.real = rows
        width, open_RW = self.width, mask.bool()
        order = torch.arange(width, device=ids.device)
        seen = (order[:, None] >= order)[None, None] & open_RW[:, None, None]
        place_RW = (mask.cumsum(1) - 1).clamp(min=0)
        self.bias.fill_(self.low)
        self.bias[:, 0, 0, :width].masked_fill_(open_RW, 0.0)
        bias = torch.zeros(seen.shape, dtype=self.dtype, device=ids.device).masked_fill_(~seen, self.low)
        self.at.fill_(width - 1)
        self.count.zero_()
        self.over_R.zero_()
        self.over_R[rows:] = True
        self.written.fill_(self.pad)
        self.place_R1.copy_(place_RW[:, -1:])
        self._take(self._forward(model, ids, bias, place_RW))

    def finish(self, model: Any, check_every: int) -> torch.Tensor:
        """All further tokens, shape (real rows, longest)."""
        for number in range(1, self.longest):
            if number % check_every == 0 and bool(self.over_R.all()):
                break
            if self.graph is None:
                self._step(model)
            else:
                self.graph.replay()
        is_end = (self.written[..., None] == self.ends).any(-1)
        last = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, self.longest)
        return self.written[: self.real, : int(last[: self.real].max())].clone()

    def _step(self, model: Any) -> None:
        self._take(self._forward(model, self.token_R1, self.bias, self.place_R1))

    def _forward(self, model: Any, ids: Any, bias: Any, places: Any) -> torch.Tensor:
        """Logits of the last position, shape (rows, vocabulary)."""
        with packed(model):
            inputs = {
                "input_ids": ids,
                "attention_mask": bias,
                "position_ids": places,
                "use_cache": True,
                "past_key_values": self.cache,
                "logits_to_keep": 1,
            }
            output = torch.func.functional_call(model, self.cast, (), inputs, tie_weights=False)
        return output.logits[:, -1].float()

    def _take(self, logits: torch.Tensor) -> None:
        """Choose the next token of each row, and open its place."""
        if self.temperature:
            # The largest of logit / temperature + Gumbel noise is a draw from the softmax.
            noise = torch.empty_like(logits).exponential_().log_()
            logits = logits / self.temperature - noise
        next_R = torch.where(self.over_R, self.pad, logits.argmax(-1))
        self.written.index_copy_(1, self.count, next_R[:, None])
        self.over_R |= (next_R[:, None] == self.ends).any(-1)
        self.token_R1.copy_(next_R[:, None])
        self.count += 1
        self.place_R1 += 1
        self.at += 1
        self.bias.index_fill_(3, self.at, 0.0)

    def _refresh(self, model: Any) -> None:
        """Cast the current weights of linear layers into the tensors that the graph reads."""
        if self.cast_to is None:
            return
        for name, weight in _linear(model):
            if name not in self.cast:
                self.cast[name] = torch.empty_like(weight, dtype=self.cast_to)
            self.cast[name].copy_(weight)

    def _capture(self, model: Any) -> None:
        self._refresh(model)
        self._rehearse(model)  # the cache's memory belongs to this stream
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries make their handles and workspaces
            self._rehearse(model)
        torch.cuda.current_stream().wait_stream(stream)
        self.at.fill_(self.width)
        self.count.zero_()
        self.graph = torch.cuda.CUDAGraph()
        # CUDA calls of other threads must not end the capture.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self._step(model)

    def _rehearse(self, model: Any) -> None:
        self.at.fill_(self.width)
        self.count.zero_()
        self._step(model)


def _linear(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of the float32 weights and biases of linear layers, which autocast would cast."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            for kind, value in module.named_parameters(recurse=False):
                if value.dtype == torch.float32:
                    yield f"{name}.{kind}", value


def _dtypes(model: Any, device: torch.device) -> tuple[torch.dtype, torch.dtype | None]:
    """The type that attention runs in, and the one that weights are cast to (None: not cast)."""
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    layers: list[Any] = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    hooks = [
        m.register_forward_hook(lambda m, _, output: seen.append((m.weight.dtype, output.dtype)))
        for m in layers
    ]
    try:
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    stored, run = seen[0]
    return run, run if run != stored else None
