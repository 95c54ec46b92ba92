"""Trainings with vLLM: what each round was planned as, what vLLM was asked, and what the loss gets."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_vllm
import tiny
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from gdro.integrations.trl import GDROTrainer

ROWS = 16  # of a step, all ranks: four prompts
SAME = 1e-4  # between two implementations of a model in float32
ANSWERS = {row["prompt"]: row["answer"] for row in tiny.dataset()}
Batch = dict[str, Any]


def save_model(folder: Path) -> Path:
    """The tiny model with heads as wide as vLLM needs on a CPU, and its tokenizer."""
    fake_vllm.model(hidden_size=32, head_dim=32).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def reward(prompts: list[str], completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """As tiny.lucky; the columns must be those of the rows' own prompts."""
    assert [ANSWERS[prompt] for prompt in prompts] == answer
    return tiny.lucky(completions, answer)


def make(
    model: Path,
    output: Path,
    strategy: str | None,
    *,
    mode: str = "colocate",
    prompts: int = 8,
    **options: Any,
) -> GRPOTrainer:
    """A GDROTrainer, or the stock trainer where there is no strategy; `peft_config` makes an adapter.

    Of the eight prompts, each is visited again after two steps.
    """
    given = {
        "model": AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        "processing_class": tiny.tokenizer(),
        "train_dataset": tiny.dataset(prompts),
        "eval_dataset": tiny.dataset(4),
        "reward_funcs": reward,
        "peft_config": options.pop("peft_config", None),
    }
    fixed = {
        "use_vllm": True,
        "vllm_mode": mode,
        "vllm_max_model_length": 64,
        "vllm_gpu_memory_utilization": 0.1,
        "max_completion_length": 8,
        "output_dir": str(output),
    }
    given["args"] = tiny.config(**(fixed | options))
    if strategy is None:
        return GRPOTrainer(**given)
    return GDROTrainer(**given, strategy=None if strategy == "default" else strategy, id_column="id")


@dataclass
class Seen:
    """A training, round by round and step by step, on this rank.

    Attributes:
        planned: Prompts of each round, one a row, by the controller.
        asked: Prompts of each round, one a row, that TRL gave to its vLLM engine or client.
        answers: How many answers each request wanted for a prompt.
        batches: What each step gives to the loss.
        held_out: Batches of evaluations, whose requests are the trainer's own.
        groups: Rollouts of each prompt in each plan, all ranks.
    """

    planned: list[list[str]] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    answers: set[int] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    held_out: list[Batch] = field(default_factory=list)
    groups: list[Counter[int]] = field(default_factory=list)


def text(trainer: Any, ids: Any) -> str:
    return "".join(trainer.processing_class.convert_ids_to_tokens([int(i) for i in ids]))


def prompts_of(trainer: Any, batch: Batch) -> list[str]:
    """Prompt of each row that the loss gets."""
    pairs = zip(batch["prompt_ids"], batch["prompt_mask"].bool(), strict=True)
    return [text(trainer, ids[mask]) for ids, mask in pairs]


def trained(trainer: Any, resume: str | None = None) -> Seen:
    """Train, and watch."""
    seen = Seen()
    controller, engine = trainer.controller, trainer.vllm_generation
    plan, extend, generate = controller.plan, controller.extend, engine.generate
    score = trainer._generate_and_score_completions

    def note(prompt_R: Any) -> None:
        """This rank's share of a round."""
        rank, ranks = trainer.accelerator.process_index, trainer.accelerator.num_processes
        share = len(prompt_R) // ranks
        mine = prompt_R[rank * share : (rank + 1) * share]
        seen.planned.append([trainer.train_dataset[int(index)]["prompt"] for index in mine])

    def planned(request: Any) -> Any:
        made = plan(request)
        seen.groups.append(Counter(made.prompt_R.tolist()))
        note(made.prompt_R)
        return made

    def extended(*arguments: Any) -> Any:
        further = extend(*arguments)
        if further is not None:
            note(further.prompt_R)
        return further

    def generated(prompts: Any, images: Any, num_generations: int, **more: Any) -> Any:
        if trainer.model.training:
            seen.asked.append([text(trainer, ids) for ids in prompts])
            seen.answers.add(num_generations)
        return generate(prompts, images, num_generations, **more)

    def scored(rows: Any) -> Batch:
        batch = score(rows)
        (seen.batches if trainer.model.training else seen.held_out).append(batch)
        return batch

    controller.plan, controller.extend, engine.generate = planned, extended, generated
    trainer._generate_and_score_completions = scored
    trainer.train(resume_from_checkpoint=resume)
    return seen


def gaps(batch: Batch) -> torch.Tensor:
    """Difference of each token's log-probability between the trainer and vLLM, shape (R, T)."""
    gap_RT = batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
    return gap_RT * batch["completion_mask"]


def check(trainer: Any, seen: Seen, steps: int) -> None:
    """Every row has vLLM's completion of its own prompt, and the groups are those of the plan."""
    local = ROWS // trainer.accelerator.num_processes
    assert len(seen.batches) == len(seen.groups) == steps
    assert seen.asked == seen.planned and seen.answers == {1}
    assert all(len(batch["completion_ids"]) == local for batch in seen.batches)
    for batch in [*seen.batches, *seen.held_out]:
        # The trainer's log-probabilities are of this row's completion after this row's prompt.
        assert gaps(batch).abs().max() < SAME
        ratio = batch["importance_sampling_ratio"]
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=8 * SAME, rtol=0)
    extends = trainer.controller.strategy.extends
    if extends:
        assert len(seen.planned) > steps, "no step was extended"
        return
    others = 0
    for batch, planned in zip(seen.batches, seen.planned, strict=True):
        pairs = zip(prompts_of(trainer, batch), planned, strict=True)
        others += sum(prompt != wanted for prompt, wanted in pairs)
    assert (
        others <= trainer.controller.ledger.recalled
    )  # in the places of those, other prompts may stand


def check_ragged(seen: Seen) -> None:
    """Some plan gave its prompts unequal numbers of rollouts."""
    assert any(len(set(group.values())) > 1 for group in seen.groups)
    assert all(sum(group.values()) == ROWS for group in seen.groups)


def state(trainer: Any) -> str:
    """Digest of the controller, and of the weights that are trained."""
    weights = hashlib.sha256(tiny.weights(trainer).numpy().tobytes()).hexdigest()
    return f"{trainer.controller.digest()} {weights}"
