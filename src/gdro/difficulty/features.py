"""What is known of each prompt as numbers: columns, texts and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.errors import ProblemError
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.hashing import hash_keys, hash_rows
from gdro.numerics.ngrams import hashed_ngrams, sketched
from gdro.problem import Problem

TEXT = "prompt"
"""Name by which a predictor reads the text of the prompt."""
_CATEGORIES = 64  # a column of so many values at most is categories; a longer one of texts is texts
_RANGES = 16  # ranges of a number with more values, with as many prompts in each
_DIMENSIONS = 256  # of an embedding; a longer one is sketched


class Features:
    """The features of N prompts: a block for each name, of length about one for each prompt.

    Categories are one-hot. Numbers are standardised, and one-hot by value, or by range if they have more
    than 64. Texts are hashed n-grams and the logarithm of their length. Embeddings are standardised, and
    sketched above 256 dimensions.

    Args:
        names: Columns, or `prompt` for the text of the prompts.
        problem: The prompts.

    Attributes:
        coding: Hashes of the names and of the constants that define the features, shape (2,).

    Raises:
        ProblemError: A column or the texts are missing.
    """

    def __init__(self, names: Sequence[str], problem: Problem) -> None:
        blocks = [_block(name, problem) for name in names]
        one_N1 = np.ones((problem.num_prompts, 1), np.float32)
        self._row_NF = np.concatenate([one_N1, *(rows for rows, _ in blocks)], axis=1)
        # Rounded, because sums differ in their last digits between machines.
        constants = [float(f"{c:.6g}") for _, some in blocks for c in some]
        named, valued = hash_keys(["\n".join(names)])[0], hash_rows(np.array(constants))
        self.coding = np.array([named, valued], np.uint64)

    @property
    def num(self) -> int:
        """Number of features, F."""
        return self._row_NF.shape[1]

    def rows(self, prompt_P: IntArray) -> FloatArray:
        """Features of the given prompts, the first one always 1, shape (P, F)."""
        return self._row_NF[prompt_P].astype(np.float64)


Block = tuple[npt.NDArray[np.float32], list[float]]  # features, and the constants that define them


def _block(name: str, problem: Problem) -> Block:
    if name == TEXT and TEXT not in problem.columns:
        if problem.texts is None:
            raise ProblemError(
                "predictor reads 'prompt', the text of the prompts, which Problem does not have; pass "
                "Problem(..., texts=[...]), or name columns"
            )
        return _texts(problem.texts)
    column = problem.column(name, "predictor", wide=True)
    if column.ndim == 2:
        return _embedding(column)
    if column.dtype.kind == "U":
        names, code_N = np.unique(column, return_inverse=True)
        if len(names) > _CATEGORIES:
            return _texts(column.tolist())
        return _one_hot(code_N, len(names)), [
            float(h >> np.uint64(12)) for h in hash_keys(names.tolist())
        ]
    return _numbers(column.astype(np.float64))


def _texts(texts: Sequence[str]) -> Block:
    length_N = np.log1p(np.fromiter(map(len, texts), np.float64, len(texts)))
    length = ((length_N - 5.0) / 2.0).astype(np.float32)  # the same in every dataset
    return np.concatenate([hashed_ngrams(texts), length[:, None]], axis=1), []


def _numbers(value_N: FloatArray) -> Block:
    mean, sd = float(value_N.mean()), float(value_N.std())
    standard_N = ((value_N - mean) / sd if sd else np.zeros_like(value_N)).astype(np.float32)
    values = np.unique(value_N)
    edges = values[1:]
    if len(values) > _CATEGORIES:
        edges = np.unique(np.quantile(value_N, np.arange(1, _RANGES) / _RANGES))
    code_N = np.searchsorted(edges, value_N, side="right")
    rows = np.concatenate([standard_N[:, None], _one_hot(code_N, len(edges) + 1)], axis=1)
    return rows, [mean, sd, *edges.tolist()]


def _one_hot(code_N: npt.NDArray[Any], num: int) -> npt.NDArray[np.float32]:
    rows = np.zeros((len(code_N), num), np.float32)
    rows[np.arange(len(code_N)), code_N] = 1.0
    return rows


def _embedding(array_ND: npt.NDArray[Any]) -> Block:
    mean_D, sd_D = array_ND.mean(axis=0, dtype=np.float64), array_ND.std(axis=0, dtype=np.float64)
    scale_D = np.where(sd_D > 0, 1.0 / np.maximum(sd_D, 1e-300), 0.0) / np.sqrt(array_ND.shape[1])
    rows = ((array_ND - mean_D) * scale_D).astype(np.float32)
    if rows.shape[1] > _DIMENSIONS:
        rows = sketched(rows, _DIMENSIONS)
    return rows, [*mean_D.tolist(), *sd_D.tolist()]
