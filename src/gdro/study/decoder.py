"""A small decoder with a key-value cache: language-model RL in milliseconds on one core."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from gdro.errors import StudyError
from gdro.study.testbed import END, PAD


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder.

    Args:
        vocabulary: Number of tokens, padding and end included.
        prompt: Width of every prompt in tokens, padded on the left.
        answer: Longest answer in tokens, its end included.
        width: Width of the residual stream.
        layers: Number of transformer blocks.
        heads: Number of attention heads per block.
    """

    vocabulary: int
    prompt: int
    answer: int
    width: int = 48
    layers: int = 2
    heads: int = 2


@dataclass(frozen=True)
class Rollouts:
    """Sampled answers.

    Attributes:
        tokens_RT: Prompt and answer, padded, shape (R, prompt + answer).
        logp_RG: Log-probability of each answer token when it was sampled, shape (R, answer).
        mask_RG: One on answer tokens, the end included, shape (R, answer).
    """

    tokens_RT: torch.Tensor
    logp_RG: torch.Tensor
    mask_RG: torch.Tensor

    def joined(self, later: Rollouts) -> Rollouts:
        """These rollouts followed by those of a later round."""
        pairs = zip(vars(self).values(), vars(later).values(), strict=True)
        return Rollouts(*(torch.cat(pair) for pair in pairs))


class Block(nn.Module):
    """Attention and an MLP, each behind a layer norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.heads = shape.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each (rows, heads, positions, width / heads)."""
        rows, positions, d = x.shape
        qkv = self.qkv(self.norm_1(x)).view(rows, positions, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def finish(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The block's output from its input and the mixed values."""
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Decoder(nn.Module):
    """A pre-norm decoder with learned positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.place = nn.Embedding(shape.prompt + shape.answer, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        for module in (self.embed, self.place):
            nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, tokens: torch.Tensor, start: int = 0) -> torch.Tensor:
        """Logits of positions from `start` on, shape (rows, positions - start, vocabulary)."""
        x = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self._blocks():
            q, k, v = block.project(x)
            x = block.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.head(self.norm(x[:, start:]))

    def logp(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the answers' tokens, shape (R, answer)."""
        start = self.shape.prompt
        logits = self(tokens_RT[:, :-1], start - 1)
        return logits.log_softmax(-1).gather(2, tokens_RT[:, start:, None]).squeeze(2)

    @torch.inference_mode()
    def generate(
        self,
        prompt_PW: torch.Tensor,
        rollouts_P: torch.Tensor,
        generator: torch.Generator,
        forced_RG: torch.Tensor | None = None,
    ) -> Rollouts:
        """Sample `rollouts_P` answers to each prompt, at temperature one, grouped by prompt.

        Tokens of 0 or more in `forced_RG` stand in the answers as they are, and are not in the mask.
        """
        shape = self.shape
        parent_R = torch.repeat_interleave(torch.arange(len(prompt_PW)), rollouts_P)
        num, total = len(parent_R), shape.prompt + shape.answer
        tokens = torch.full((num, total), PAD)
        tokens[:, : shape.prompt] = prompt_PW[parent_R]
        logp, mask = torch.zeros(num, shape.answer), torch.zeros(num, shape.answer)
        caches, last = self._prefill(prompt_PW, parent_R)
        row = torch.arange(num)
        for g in range(shape.answer):
            logits = self.head(self.norm(last)).log_softmax(-1)
            # A draw by the inverse of the cumulative probabilities: one random number a row.
            below = logits.exp().cumsum(-1) < torch.rand(num, 1, generator=generator)[row]
            token = below.sum(-1).clamp(max=shape.vocabulary - 1)
            free = torch.ones(len(row))
            if forced_RG is not None:
                free = (forced_RG[row, g] < 0).float()
                token = torch.where(free > 0, token, forced_RG[row, g])
            logp[row, g] = logits.gather(1, token[:, None]).squeeze(1)
            mask[row, g] = free
            tokens[row, shape.prompt + g] = token
            going = ((token != END) & (token != PAD)).nonzero().squeeze(1)
            if g + 1 == shape.answer or not len(going):
                break
            if len(going) < len(row):
                row, token = row[going], token[going]
                caches = [(k.index_select(0, going), v.index_select(0, going)) for k, v in caches]
            last = self._next(token, shape.prompt + g, caches)
        return Rollouts(tokens, logp, mask)

    def _prefill(
        self, prompt_PW: torch.Tensor, parent_R: torch.Tensor
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
        """Caches of every row, and the last position's output: prompts are read once each."""
        shape = self.shape
        x = self.embed(prompt_PW) + self.place.weight[: shape.prompt]
        caches: list[tuple[torch.Tensor, torch.Tensor]] = []
        size = (len(parent_R), shape.heads, shape.prompt + shape.answer, shape.width // shape.heads)
        for block in self._blocks():
            q, k, v = block.project(x)
            keys, values = torch.empty(size), torch.empty(size)
            keys[:, :, : shape.prompt] = k.index_select(0, parent_R)
            values[:, :, : shape.prompt] = v.index_select(0, parent_R)
            caches.append((keys, values))
            x = block.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return caches, x[:, -1][parent_R]

    def _next(
        self, token: torch.Tensor, place: int, caches: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        x = (self.embed(token) + self.place.weight[place]).unsqueeze(1)
        for block, (keys, values) in zip(self._blocks(), caches, strict=True):
            q, k, v = block.project(x)
            keys[:, :, place], values[:, :, place] = k[:, :, 0], v[:, :, 0]
            seen = slice(0, place + 1)
            mixed = F.scaled_dot_product_attention(q, keys[:, :, seen], values[:, :, seen])
            x = block.finish(x, mixed)
        return x[:, 0]

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


def save(model: Decoder, path: Path) -> None:
    """Write weights in half precision and the shape to one safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() for name, value in model.state_dict().items()}
    save_file(half, path, metadata={"shape": json.dumps(asdict(model.shape))})


def load(path: Path) -> Decoder:
    """Read a decoder; a StudyError says if the file is missing or holds none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise StudyError(f"no warm start {path}; make one with python studies/make_warm_start.py")
    try:
        with safe_open(path, "pt") as file:
            shape = Shape(**json.loads((file.metadata() or {})["shape"]))
        model = Decoder(shape)
        weights = {name: value.float() for name, value in load_file(path).items()}
        model.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise StudyError(f"{path} holds no decoder of this version: {problem!s:.200}") from problem
    return model
