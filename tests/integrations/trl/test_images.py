"""Prompts with images: every row keeps its own patches; what cannot work is refused with the reason."""

from __future__ import annotations

from typing import Any

import pictures
import pytest
import tiny
import torch
from agents import WITH_TOOLS
from PIL import Image as Pictures

from gdro.errors import UnsupportedError
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.row_keys import holds_images

pytestmark = WITH_TOOLS


def patches(batch: dict[str, Any]) -> list[torch.Tensor]:
    """The pixels of each row's images."""
    per_image = batch["image_grid_thw"].prod(dim=-1).tolist()
    images = iter(torch.split(batch["pixel_values"], per_image))
    rows = [[next(images) for _ in range(num)] for num in batch["num_images"]]
    return [torch.cat(row) if row else torch.zeros(0, 24) for row in rows]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_iterations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
        {"strategy": "prompt-gdro(signal=surrogate)"},
        {"tools": [pictures.show], "per_device_train_batch_size": 8, "steps_per_generation": 2}
        | pictures.SHOWING,
    ],
)
def test_groups_of_unequal_size_keep_their_images(options: dict[str, Any]) -> None:
    given = {"strategy": "random-rollouts", "train_dataset": lambda: pictures.dataset(column="images")}
    trainer = pictures.make(max_steps=3, **(given | options))
    batches, steps = [], []
    rows, losses = trainer._gdro_batch, trainer._compute_loss

    def keep(step: Any) -> Any:
        steps.append(step)
        batches.append(dict(rows(step)))
        return batches[-1]

    def checked(model: Any, inputs: dict[str, Any]) -> Any:
        """In every micro-batch the pictures have as many tokens as their row has places for them."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        places = (ids == 17).sum(dim=1).tolist()
        assert [len(p) // 4 for p in patches(inputs)] == places
        return losses(model, inputs)

    trainer._gdro_batch, trainer._compute_loss = keep, checked
    trainer.train()
    encode, sizes, more = trainer.processing_class.image_processor, set(), 0
    for step, batch in zip(steps, batches, strict=True):
        sizes |= set(step.plan.rollouts_P.tolist())
        for row, pixels in enumerate(patches(batch)):
            images = trainer.train_dataset[int(step.outcome.prompt_R[row])]["images"]
            own = encode(images=images, return_tensors="pt")["pixel_values"]
            assert torch.equal(pixels[: len(own)], own)
            more += batch["num_images"][row] - len(images)
            assert (len(pixels) > len(own)) == (batch["num_images"][row] > len(images))
    assert (more > 5) == ("tools" in options)
    assert len(sizes) > 1 or "strategy" in options
    assert trainer.controller.ledger.closed >= 1 and torch.isfinite(tiny.weights(trainer)).all()


def test_rows_that_differ_in_their_image_alone_are_prompts_of_their_own() -> None:
    same = pictures.dataset(4).remove_columns("id").map(lambda row: {"prompt": [], "answer": "a"})
    pool = dataset_pool(same)
    assert pool.problem.num_prompts == 4
    assert pool.indices([same[i] for i in (2, 0, 3)]) == [2, 0, 3]


def test_images_are_found_wherever_they_are() -> None:
    assert all(holds_images(pictures.dataset(2, c).features) for c in ("image", "images", "prompt"))
    assert not holds_images(tiny.dataset(conversational=True).features)


@pytest.mark.parametrize("column", ["image", "images", "prompt"])
@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ("uniform + memory", "has a memory, which stores tokens alone"),
        (None, "has a memory, which stores tokens alone; take strategy='rollout-gdro'"),
        ("dapo", "samples on, and the patches of several rounds"),
        ("speed", "samples on"),
    ],
)
def test_memory_and_further_rounds_are_refused_with_images(
    column: str, strategy: str | None, why: str
) -> None:
    what = "prompts of train_dataset have" if column == "prompt" else f"column '{column}' has"
    with pytest.raises(UnsupportedError, match=f"{what} images, and strategy .*{why}"):
        pictures.make(train_dataset=lambda: pictures.dataset(column=column), strategy=strategy)


@pytest.mark.parametrize("strategy", ["uniform + memory", "dapo"])
def test_images_that_come_later_are_refused(strategy: str) -> None:
    """A transform adds them, so no column of the dataset has them."""

    def shown(rows: dict[str, Any]) -> dict[str, Any]:
        return rows | {"images": [[Pictures.new("RGB", (4, 4))] for _ in rows["prompt"]]}

    data = tiny.dataset(conversational=True).with_transform(shown)
    trainer = pictures.make(train_dataset=lambda: data, strategy=strategy, id_column="id")
    with pytest.raises(UnsupportedError, match="a batch has images, and strategy"):
        trainer.train()


@pytest.mark.parametrize("strategy", ["uniform + memory", "dapo"])
def test_images_from_tools_are_refused_there(strategy: str) -> None:
    data = tiny.dataset(conversational=True)
    given = {"tools": [pictures.show], "max_steps": 3, **pictures.SHOWING}
    trainer = pictures.make(train_dataset=lambda: data, strategy=strategy, **given)
    with pytest.raises(UnsupportedError, match="a batch has images, and strategy"):
        trainer.train()


def test_a_model_of_images_with_text_alone_may_remember_and_sample_on() -> None:
    data = tiny.dataset(conversational=True)
    for strategy in ("uniform + memory(anchor_rate=0.1)", "dapo"):
        trainer = pictures.make(train_dataset=lambda: data, strategy=strategy, max_steps=3)
        trainer.train()
        assert trainer.controller.ledger.closed == 3


def test_static_generation_is_refused_with_images() -> None:
    with pytest.raises(UnsupportedError, match="cannot be combined with a processor of images"):
        pictures.make(strategy="uniform", generation="static")
