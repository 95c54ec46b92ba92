"""Texts as numbers: counts of character n-grams in hashed, signed buckets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gdro.numerics.arrays import FloatArray
from gdro.numerics.hashing import mixed

_CHUNK = 1 << 18  # characters that are hashed at once: bounds the memory
_FOLDED = str.maketrans("123456789", "000000000")


def hashed_ngrams(
    texts: Sequence[str], buckets: int = 128, sizes: Sequence[int] = (2, 4), longest: int = 4096
) -> npt.NDArray[np.float32]:
    """Square roots of the counts of each text's n-grams in hashed buckets, each row of length one.

    Small letters and capitals are the same, and so are all digits. The sign of a bucket's entry comes
    from the hash too, so that n-grams that share a bucket cancel on the mean.

    Args:
        texts: N texts.
        buckets: Number of buckets.
        sizes: Lengths of the n-grams, in characters.
        longest: Characters of a text that are read, from its start.

    Returns:
        Shape (N, buckets); zeros for a text that is shorter than every n-gram.

    References:
        Weinberger, Dasgupta, Langford, Smola and Attenberg, 2009, "Feature Hashing for Large Scale
        Multitask Learning", arXiv 0902.2206.

    >>> one, same, other = hashed_ngrams(["Solve 3 + 4", "solve 8 + 9", "Prove it"])
    >>> bool((one == same).all()), bool((one == other).all()), round(float(one @ one), 6)
    (True, False, 1.0)
    """
    counts = np.zeros((len(texts), buckets), np.float32)
    start = 0
    while start < len(texts):
        stop, size = start, 0
        while stop < len(texts) and size < _CHUNK:
            size += min(longest, len(texts[stop]))
            stop += 1
        counts[start:stop] = _counted(texts[start:stop], buckets, sizes, longest)
        start = stop
    rooted = np.sign(counts) * np.sqrt(np.abs(counts))
    norm = np.sqrt((rooted * rooted).sum(axis=1, keepdims=True))
    return rooted / np.maximum(norm, np.float32(1e-6))


def _counted(texts: Sequence[str], buckets: int, sizes: Sequence[int], longest: int) -> FloatArray:
    """Signed counts of the n-grams of a few texts, shape (texts, buckets)."""
    read = [text[:longest].lower().translate(_FOLDED) for text in texts]
    length_N = np.fromiter(map(len, read), np.int64, len(read))
    joined = "".join(read).encode("utf-32-le", "surrogatepass")
    code_C = np.frombuffer(joined, np.uint32).astype(np.uint64)
    row_C = np.repeat(np.arange(len(read)), length_N)
    total = np.zeros(len(read) * buckets)
    for size in sizes:
        num = len(code_C) - size + 1
        if num < 1:
            continue
        state = np.full(num, np.uint64(size))
        for k in range(size):
            state = mixed(state ^ code_C[k : k + num])
        inside = row_C[:num] == row_C[size - 1 :]  # the others span two texts
        state, row = state[inside], row_C[:num][inside]
        cell = row * buckets + (state % np.uint64(buckets)).astype(np.int64)
        sign = 1.0 - 2.0 * (state >> np.uint64(63)).astype(np.float64)
        total += np.bincount(cell, sign, len(total))
    return total.reshape(len(read), buckets)


def sketched(array_ND: npt.NDArray[np.float32], buckets: int) -> npt.NDArray[np.float32]:
    """Columns of an array added up in hashed, signed buckets, shape (N, buckets).

    Lengths and distances between rows are kept on the mean (count sketch, as in `hashed_ngrams`).
    """
    hash_D = mixed(np.arange(1, array_ND.shape[1] + 1, dtype=np.uint64))
    sign_D = (1.0 - 2.0 * (hash_D >> np.uint64(63)).astype(np.float32)).astype(np.float32)
    bucket_D = (hash_D % np.uint64(buckets)).astype(np.int64)
    result = np.zeros((len(array_ND), buckets), np.float32)
    for column, (bucket, sign) in enumerate(zip(bucket_D.tolist(), sign_D.tolist(), strict=True)):
        result[:, bucket] += np.float32(sign) * array_ND[:, column]
    return result
