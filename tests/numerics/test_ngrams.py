"""Hashed n-grams: what they keep, and that they are the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from gdro.numerics import ngrams
from gdro.numerics.ngrams import hashed_ngrams, sketched

TEXTS = ["What is 3 + 4?", "what is 8 + 9?", "", "a", "Prove it.", "∫ x² dx", "half \ud83d"]


def test_digits_and_capitals_are_the_same_and_short_texts_are_empty() -> None:
    rows = hashed_ngrams(TEXTS)
    assert rows.shape == (7, 128) and rows.dtype == np.float32
    assert (rows[0] == rows[1]).all() and not (rows[0] == rows[4]).all()
    norms = np.linalg.norm(rows, axis=1)
    assert norms == pytest.approx([1, 1, 0, 0, 1, 1, 1], abs=1e-6)


def test_rows_do_not_depend_on_the_texts_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    together = hashed_ngrams(TEXTS)
    monkeypatch.setattr(ngrams, "_CHUNK", 10)  # a chunk ends between two texts
    assert (hashed_ngrams(TEXTS) == together).all()
    for text, row in zip(TEXTS, together, strict=True):
        assert (hashed_ngrams([text])[0] == row).all()


def test_counts_by_hand() -> None:
    """One bigram, once and four times: its sign, the square root of its count, length one."""
    once, four = hashed_ngrams(["ab"], 16, (2,)), hashed_ngrams(["ab" * 4], 16, (2,))
    cell = int(np.flatnonzero(once[0])[0])
    assert abs(once[0, cell]) == 1.0 and np.count_nonzero(once) == 1
    other = hashed_ngrams(["ba"], 16, (2,))[0]
    expected = 2.0 * once[0] + np.sqrt(3.0) * other
    assert four[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_only_the_start_of_a_long_text_is_read() -> None:
    rows = hashed_ngrams(["abcd" * 1024, "abcd" * 1024 + "xyz" * 500])
    assert (rows[0] == rows[1]).all()


def test_a_hash_that_is_pinned() -> None:
    """Checkpoints hold regressions on these features: the buckets may never change."""
    row = hashed_ngrams(["What is 3 + 4?"])[0]
    assert np.flatnonzero(row).tolist() == PINNED


PINNED = [17, 22, 30, 47, 50, 52, 59, 61, 62, 63, 71, 75, 87, 102, 111, 113, 115, 119, 120]


def test_a_sketch_keeps_distances_on_the_mean() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 2000)).astype(np.float32)
    short = sketched(rows, 256)
    far = np.linalg.norm(rows[:20] - rows[20:], axis=1)
    near = np.linalg.norm(short[:20] - short[20:], axis=1)
    assert short.shape == (40, 256) and near / far == pytest.approx(np.ones(20), abs=0.15)
