"""Answers of the CPU replica: reproducible, and drawn as asked."""

from __future__ import annotations

import numpy as np
import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import Qwen3Config, Qwen3ForCausalLM

from gdro.dry_run.verl.sampling import Draw, Sampling, sample
from gdro.integrations.verl.sampler import PlanSampler

torch.manual_seed(0)
MODEL = Qwen3ForCausalLM(
    Qwen3Config(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        head_dim=8,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
).eval()


def first_tokens(sampling: Sampling, num: int = 4000) -> torch.Tensor:
    draws = [Draw((3, 4), 0, 0, i) for i in range(num)]
    return torch.tensor([tokens[0] for tokens, _ in sample(MODEL, draws, 1, sampling, [99], 0)])


def shares(sampling: Sampling) -> torch.Tensor:
    with torch.no_grad():
        logits = MODEL(torch.tensor([[3, 4]])).logits[0, -1]
    wanted = (logits / sampling.temperature).softmax(-1)
    order = wanted.argsort(descending=True)
    kept = order[: sampling.top_k] if sampling.top_k > 0 else order
    inside = wanted[kept] / wanted[kept].sum()
    kept = kept[(inside.cumsum(0) - inside) < sampling.top_p]
    only = torch.zeros_like(wanted)
    only[kept] = wanted[kept] / wanted[kept].sum()
    return only


def test_tokens_have_the_stated_probabilities() -> None:
    for sampling in (
        Sampling(),
        Sampling(0.5),
        Sampling(0.7, top_p=0.6),
        Sampling(1.0, 1.0, 3),
        Sampling(0.6, 0.8, 5),
    ):
        wanted = shares(sampling)
        found = torch.bincount(first_tokens(sampling), minlength=11) / 4000
        assert (found[wanted == 0] == 0).all()
        assert ((found - wanted).abs() < 4.5 * (wanted * (1 - wanted) / 4000).sqrt() + 1e-9).all()


def test_zero_temperature_takes_the_likeliest() -> None:
    assert first_tokens(Sampling(0.0), 3).unique().tolist() == [int(shares(Sampling()).argmax())]


def test_an_answer_depends_on_its_own_draw_alone() -> None:
    draws = [Draw((3, 4), 0, 0, i) for i in range(6)]
    together = sample(MODEL, draws, 4, Sampling(), [1], 0)
    alone = [sample(MODEL, [draw], 4, Sampling(), [1], 0)[0] for draw in draws]
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert len({tuple(tokens) for tokens, _ in together}) > 1
    assert all(len(tokens) == len(logps) for tokens, logps in together)


def test_a_resumed_loader_asks_for_the_next_plan_and_for_no_earlier_one() -> None:
    """Plans are drawn when a batch is asked for: one for each batch, also where an epoch would end."""
    asked: list[int] = []

    def loader() -> StatefulDataLoader[int]:
        def draw() -> np.ndarray:
            asked.append(len(asked))
            return np.array([asked[-1], 9])

        data = list(range(10))
        return StatefulDataLoader(data, batch_size=2, drop_last=True, sampler=PlanSampler(data, draw))

    first = loader()
    batches = iter(first)
    for number in range(7):
        assert next(batches).tolist() == [number, 9] and len(asked) == number + 1
    resumed = loader()
    resumed.load_state_dict(first.state_dict())
    assert next(iter(resumed)).tolist() == [7, 9] and len(asked) == 8
