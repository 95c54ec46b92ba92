"""The small decoder: its cache, its sampling, its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gdro.errors import StudyError
from gdro.study.decoder import Decoder, Shape, load, save
from gdro.study.testbed import END, PAD

SHAPE = Shape(vocabulary=9, prompt=4, answer=5, width=16, layers=2, heads=2)


def made(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(SHAPE)


def sampled(model: Decoder, seed: int = 1):
    prompt = torch.randint(2, 9, (6, 4), generator=torch.Generator().manual_seed(7))
    counts = torch.tensor([3, 1, 4, 2, 5, 200])
    return prompt, counts, model.generate(prompt, counts, torch.Generator().manual_seed(seed))


def test_log_probabilities_of_the_cache_are_those_of_the_whole_sequence() -> None:
    model = made()
    _, _, rollouts = sampled(model)
    with torch.no_grad():
        whole = model.logp(rollouts.tokens_RT) * rollouts.mask_RG
    assert torch.allclose(rollouts.logp_RG, whole, atol=1e-5)


def test_rows_follow_their_prompts_and_stop_at_the_end() -> None:
    prompt, counts, rollouts = sampled(made())
    assert torch.equal(rollouts.tokens_RT[:, :4], prompt.repeat_interleave(counts, dim=0))
    for row, mask in zip(rollouts.tokens_RT[:, 4:].tolist(), rollouts.mask_RG.tolist(), strict=True):
        ends = [i for i, token in enumerate(row) if token in (END, PAD)]
        length = ends[0] + 1 if ends else 5
        assert mask == [1.0] * length + [0.0] * (5 - length)
        assert all(token == PAD for token in row[length:])


def test_same_seed_same_rollouts() -> None:
    model = made()
    first, again, other = (sampled(model, seed)[2].tokens_RT for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sampling_follows_the_model() -> None:
    """Shares of first tokens against the softmax, 20,000 draws: five standard errors."""
    model, prompt = made(), torch.tensor([[2, 3, 4, 5]])
    num = 20_000
    rollouts = model.generate(prompt, torch.tensor([num]), torch.Generator().manual_seed(3))
    share = np.bincount(rollouts.tokens_RT[:, 4].numpy(), minlength=9) / num
    with torch.no_grad():
        want = model(prompt, 3)[0, 0].softmax(-1).numpy()
    assert np.abs(share - want).max() < 5 * np.sqrt(0.25 / num)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = made()
    save(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.shape == SHAPE
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float())


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="make_warm_start"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle?")
    with pytest.raises(StudyError, match="no decoder"):
        load(tmp_path / "bad.safetensors")
