"""The schedule of one call: order, CPU time per item, and when grading stops."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gdro.rewards.wire import CRASHED, TOO_SLOW, UNFORKED, Item

_CHUNK = 32  # items per forked child; a fork costs as much as a few items
# Share of an item's time for its first try; an item that needs more waits for all others. If too many
# are slow, the first try is limited to `_FEW_S` seconds.
_FIRST, _FEW_S = 1 / 8, 0.05
# Time of a batch: so many times the limit of an item, and seconds for each item of a worker's share.
_SPARE, _EACH_S = 4.0, 0.1


@dataclass(frozen=True, slots=True)
class Share:
    """Items for one worker.

    Attributes:
        items: Indices of the items in the batch.
        limit_s: Most CPU seconds per item.
        alone: Whether this is the second and last try of a single item.
    """

    items: list[int]
    limit_s: float
    alone: bool


class Batch:
    """The items of one call: each gets one try, and a second one by itself if that fails.

    Time is CPU time, as reported by the workers, so that a busy machine takes longer but changes no
    verdict. Every item gets a first try, a short one if slow items have used up the spare time. Second
    tries start while there is time left, first those of crashed items, then those of slow ones.

    Args:
        items: (gold, answer) pairs.
        workers: Number of processes.
        timeout_s: Most seconds per item, both tries together.
        batch_s: Seconds per worker after which no second try starts; None: 4 `timeout_s`, plus 0.1 for
            each item of a worker's share.
    """

    def __init__(
        self, items: Sequence[Item], workers: int, timeout_s: float, batch_s: float | None = None
    ) -> None:
        self.items, self._workers = items, workers
        self.most_s = batch_s or _SPARE * timeout_s + _EACH_S * len(items) / workers
        self.left_s = self.most_s * workers
        self._timeout_s, self._untried = timeout_s, len(items)
        self.verdicts = [TOO_SLOW] * len(items)
        self.troubles = 0  # failures of the machine, not of an item
        self._first = deque(range(len(items)))
        self._again: deque[int] = deque()

    def share(self) -> Share | None:
        """The next items for a worker; None if there are none or no time is left for them."""
        if self._first:
            size = min(_CHUNK, -(-len(self._first) // (2 * self._workers)))  # smaller towards the end
            items = [self._first.popleft() for _ in range(size)]
            return Share(items, self._first_s(), alone=False)
        if self._again and self.left_s > 0:
            return Share([self._again.popleft()], (1 - _FIRST) * self._timeout_s, alone=True)
        return None

    def _first_s(self) -> float:
        """Time limit of a first try; each worker may meet an item that uses it up."""
        first_s = _FIRST * self._timeout_s
        spare_s = self.left_s - _EACH_S * self._untried
        return first_s if spare_s > first_s * self._workers else min(first_s, _FEW_S)

    def judged(self, share: Share, verdicts: Sequence[int], used_s: float) -> None:
        """Record the verdicts of a share's first items and the CPU seconds that they took.

        Only the last verdict may be `TOO_SLOW`, `CRASHED` or `UNFORKED`.
        """
        self.left_s -= used_s
        if UNFORKED in verdicts:
            self.lost(share)
            return
        self._untried -= 0 if share.alone else len(verdicts)
        for item, verdict in zip(share.items, verdicts, strict=False):
            self.verdicts[item] = verdict
            if not share.alone and verdict == CRASHED:
                self._again.appendleft(item)
            elif not share.alone and verdict == TOO_SLOW:
                self._again.append(item)
        self._first.extendleft(reversed(share.items[len(verdicts) :]))

    def lost(self, share: Share) -> None:
        """Queue a share again, because its worker was killed or could not fork."""
        self.troubles += 1
        (self._again if share.alone else self._first).extendleft(reversed(share.items))
