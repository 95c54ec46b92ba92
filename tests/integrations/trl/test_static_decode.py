"""The static decoder against `generate`: the same tokens greedily, the same distribution sampled."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig

from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.static_decode import StaticDecoder

# fmt: off
SIZE = {"vocab_size": 12, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1, "tie_word_embeddings": True}
# fmt: on


def llama() -> LlamaForCausalLM:
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(**SIZE)).eval()
    for weight in model.parameters():
        weight.data *= 8  # a random small model is nearly uniform: let its choices differ
    return model


def gemma(window: int) -> Gemma3ForCausalLM:
    torch.manual_seed(3)
    return Gemma3ForCausalLM(Gemma3TextConfig(**SIZE, head_dim=8, sliding_window=window)).eval()


def prompts(rows: int = 5, width: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(2, 12, (rows, width)))
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, :row] = 0
    return ids.masked_fill(mask == 0, 0), mask


@pytest.mark.parametrize("make", [llama, lambda: gemma(64), lambda: tiny.model(1)])
@pytest.mark.parametrize("autocast", [False, True])
def test_greedy_tokens_are_those_of_generate(make, autocast: bool) -> None:
    model = make()
    ids, mask = prompts()
    options = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 9, "pad_token_id": 0}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast), torch.no_grad():
        expected = model.generate(input_ids=ids, **options)
        found = StaticDecoder(bucket=4, check_every=2).generate(model, ids, **options)
    assert torch.equal(found, expected)


def test_sampled_tokens_follow_the_softmax_of_the_models_own_logits() -> None:
    model, temperature = llama(), 1.7
    ids, mask = prompts(3)
    rows = 3000
    torch.manual_seed(0)
    out = StaticDecoder().generate(
        model,
        ids.repeat(rows, 1),
        mask.repeat(rows, 1),
        do_sample=True,
        temperature=temperature,
        max_new_tokens=2,
        pad_token_id=0,
        eos_token_id=None,
    )
    with torch.no_grad():
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
        ).logits
    first = torch.softmax(logits[:, -1] / temperature, -1)
    for row in range(3):
        seen = torch.bincount(out[row::3, 7], minlength=12) / rows
        assert (seen - first[row]).abs().max() < 4 * (0.25 / rows) ** 0.5
        likeliest = int(first[row].argmax())
        mine = out[row::3][out[row::3, 7] == likeliest]
        with torch.no_grad():
            more = torch.cat([ids[row, row:], torch.tensor([likeliest])])[None]
            second = torch.softmax(model(input_ids=more).logits[0, -1] / temperature, -1)
        seen = torch.bincount(mine[:, 8], minlength=12) / len(mine)
        assert (seen - second).abs().max() < 4 * (0.25 / len(mine)) ** 0.5


def test_new_weights_are_read_and_another_model_too() -> None:
    decoder = StaticDecoder(bucket=4)
    model, other = llama(), tiny.model(2)
    ids, mask = prompts()
    options = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 5, "pad_token_id": 0}
    for changed in (model, model, other, model):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            for weight in changed.parameters():
                weight.add_(0.3 * torch.randn_like(weight))
            expected = changed.generate(input_ids=ids, **options)
            assert torch.equal(decoder.generate(changed, ids, **options), expected)


def test_ended_rows_hold_padding_and_the_width_is_that_of_the_longest() -> None:
    model = llama()
    ids, mask = prompts()
    torch.manual_seed(1)
    out = StaticDecoder(check_every=1).generate(
        model,
        ids,
        mask,
        do_sample=True,
        temperature=3.0,
        max_new_tokens=40,
        pad_token_id=0,
    )[:, 7:]
    is_end = (out == 1).int()
    for row in out.tolist():
        after = row[row.index(1) + 1 :] if 1 in row else []
        assert not any(after)
    assert out.shape[1] == int(torch.where(is_end.any(1), is_end.argmax(1) + 1, 40).max())


@pytest.mark.parametrize(
    "options, word",
    [
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"repetition_penalty": 1.1}, "repetition"),
        ({"num_beams": 2}, "num_beams"),
        ({"max_new_tokens": None}, "max_new_tokens"),
    ],
)
def test_other_distributions_are_refused(options, word) -> None:
    ids, mask = prompts()
    with pytest.raises(UnsupportedError, match=word):
        StaticDecoder().generate(
            llama(), ids, mask, **{"do_sample": True, "max_new_tokens": 4, **options}
        )


def test_a_text_beyond_the_sliding_window_is_refused() -> None:
    ids, mask = prompts()
    with pytest.raises(UnsupportedError, match="window"):
        StaticDecoder(bucket=4).generate(gemma(8), ids, mask, do_sample=True, max_new_tokens=4)


def config(folder, **options) -> GRPOConfig:
    given = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 4,
        "learning_rate": 1e-3,
        "beta": 0.0,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
    }
    return GRPOConfig(**{**given, **options})


def trainer(folder, *, strategy="rollout-gdro + memory", generation="static", **options) -> GDROTrainer:
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=config(folder, **options),
        id_column="id",
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        generation=generation,
    )


@pytest.mark.parametrize("bf16", [False, True])
def test_a_training_generates_with_it(tmp_path, bf16: bool) -> None:
    made = trainer(tmp_path, bf16=bf16)
    before = [p.clone() for p in made.model.parameters()]
    made.train()
    assert made.decoder._runs and "generate" not in vars(made.model)
    assert all(p.dtype == torch.float32 for p in made.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))
    assert made.controller.ledger.rollouts == 24


@pytest.mark.parametrize(
    "options, word",
    [
        ({"generation": "fast"}, "'trl' or 'static'"),
        ({"top_p": 0.8}, "top_p"),
        ({"cache_implementation": "static"}, "cache_implementation"),
    ],
)
def test_the_trainer_refuses_what_cannot_be(tmp_path, options, word) -> None:
    with pytest.raises(UnsupportedError, match=word):
        trainer(tmp_path, **options)
