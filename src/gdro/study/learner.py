"""The clipped policy gradient on a small decoder."""

from __future__ import annotations

import numpy as np
import torch

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.study.decoder import Decoder, Rollouts
from gdro.study.training import Training


class Learner:
    """A model, trained in place, and its optimiser; the seed orders the minibatches."""

    def __init__(self, model: Decoder, training: Training, seed: int) -> None:
        self._model, self._training = model, training
        self._optimiser = torch.optim.Adam(
            model.parameters(), lr=training.learning_rate, betas=(0.9, 0.95), fused=True
        )
        self._rng = np.random.default_rng([seed, 19])
        self._step = 0

    def update(
        self,
        rollouts: Rollouts,
        prompt_R: IntArray,
        advantage_R: FloatArray,
        base_R: FloatArray,
        num_rows: int,
        weight_RG: torch.Tensor | None = None,
    ) -> tuple[FloatArray, int, int]:
        """Take the optimiser steps of one training step.

        Args:
            rollouts: Fresh rows, then M recalled ones.
            prompt_R: Dataset index of each row's prompt, shape (R + M,).
            advantage_R: Weighted advantages, shape (R + M,).
            base_R: Unweighted advantages of the fresh rows, shape (R,).
            num_rows: Rows that the loss is averaged over, whatever was dropped.
            weight_RG: Factor on the loss of each token, shape (R + M, answer); None: ones.

        Returns:
            The clipped surrogate of each fresh row when it was trained on, (R,); tokens trained on;
            optimiser steps, without those that had no row with a gradient.
        """
        training, loss_R, trained, updates = self._training, np.zeros(len(base_R)), 0, 0
        self._step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = training.learning_rate * min(1.0, self._step / training.warmup)
        prompts = self._rng.permutation(np.unique(prompt_R))
        for part in np.array_split(prompts, training.minibatches):
            rows = np.flatnonzero(np.isin(prompt_R, part) & (advantage_R != 0.0))
            if not len(rows):
                continue
            taken = torch.from_numpy(rows)
            mask = rollouts.mask_RG[taken]
            ratio = (
                (self._model.logp(rollouts.tokens_RT[taken]) - rollouts.logp_RG[taken]) * mask
            ).exp()
            share = mask if weight_RG is None else mask * weight_RG[taken]
            weighted = self._surrogate(ratio, mask, advantage_R[rows], share)
            loss = weighted.sum() * training.minibatches / num_rows
            fresh = torch.from_numpy(rows < len(base_R))
            with torch.no_grad():
                plain = self._surrogate(ratio[fresh], mask[fresh], base_R[rows[fresh.numpy()]])
            loss_R[rows[fresh.numpy()]] = plain.numpy()
            self._optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimiser.step()
            trained += int(mask.sum())
            updates += 1
        return loss_R, trained, updates

    def _surrogate(
        self,
        ratio: torch.Tensor,
        mask: torch.Tensor,
        advantage: FloatArray,
        share: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token mean of the clipped surrogate, its tokens times `share` (the mask), shape (rows,)."""
        factor = torch.as_tensor(advantage, dtype=torch.float32).unsqueeze(1)
        clipped = ratio.clamp(1.0 - self._training.clip_low, 1.0 + self._training.clip_high)
        loss = torch.maximum(-factor * ratio, -factor * clipped) * (mask if share is None else share)
        return loss.sum(1) / mask.sum(1).clamp(min=1.0)
