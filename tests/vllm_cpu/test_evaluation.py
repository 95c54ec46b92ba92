"""`gdro eval --backend vllm` generates with vLLM itself."""

from __future__ import annotations

from pathlib import Path

import tiny

from gdro.evaluation.run import Options
from gdro.evaluation.transformers import TransformersGenerator
from gdro.evaluation.vllm import VllmGenerator


def test_completions(model_folder: Path) -> None:
    """Greedy completions are those of transformers; a seed repeats samples."""
    path, prompts = str(model_folder), tiny.dataset()["prompt"][:]
    engine = VllmGenerator(path, enforce_eager=True, dtype="float32", max_model_len=64)
    greedy, sampled = (Options(samples=1, temperature=t, max_new_tokens=8) for t in (0.0, 1.0))

    def stripped(answers: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Without the space that this tokenizer has before the first word."""
        return [(text.strip(), tokens) for text, tokens in answers]

    want = TransformersGenerator.load(path).generate(prompts, greedy, 0)
    assert stripped(engine.generate(prompts, greedy, 0)) == stripped(want)
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    assert stripped(engine.generate(chats, greedy, 0)) == stripped(want)
    samples = [engine.generate(prompts, sampled, seed) for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]
    assert len(set(samples[0])) > 12
