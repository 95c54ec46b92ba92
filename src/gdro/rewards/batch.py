"""What is judged of one call: in which order, with how much of the processor, and when it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gdro.rewards.wire import CRASHED, TOO_SLOW, UNFORKED, Item

_CHUNK = 32  # items that one forked child judges; a fork costs as much as a few items
# Of an item's time, at first; one that needs more waits until all others are judged. Where so many are
# slow that others would not be judged, it is seconds.
_FIRST, _FEW_S = 1 / 8, 0.05
# Of a batch: times the time for an item, and seconds for each of a worker's.
_SPARE, _EACH_S = 4.0, 0.1


@dataclass(frozen=True, slots=True)
class Share:
    """Items for one worker.

    Attributes:
        items: Their places in the batch.
        limit_s: Most seconds of the processor for each.
        alone: Whether it is one item, judged for the last time.
    """

    items: list[int]
    limit_s: float
    alone: bool


class Batch:
    """The items of one call: each is judged once, and once more by itself if that came to nothing.

    All is counted in seconds of the processor, as workers report them, so that a busy machine takes
    longer and changes no verdict. Every item has its first try: that is short where slow ones have used
    what the others do not need. Second tries begin while there is time left, those of what crashed
    before those of what was slow.

    Args:
        items: (gold, answer) each.
        workers: Processes.
        timeout_s: Most seconds for one item, both tries together.
        batch_s: Seconds of each worker after which nothing is judged once more; None: 4 `timeout_s`, and
            0.1 for each item of a worker's share.
    """

    def __init__(
        self, items: Sequence[Item], workers: int, timeout_s: float, batch_s: float | None = None
    ) -> None:
        self.items, self._workers = items, workers
        self.most_s = batch_s or _SPARE * timeout_s + _EACH_S * len(items) / workers
        self.left_s = self.most_s * workers
        self._timeout_s, self._untried = timeout_s, len(items)
        self.verdicts = [TOO_SLOW] * len(items)
        self.troubles = 0  # of the machine, not of an item
        self._first = deque(range(len(items)))
        self._again: deque[int] = deque()

    def share(self) -> Share | None:
        """The next items for a worker; None if there are none, or there is no time left for them."""
        if self._first:
            size = min(_CHUNK, -(-len(self._first) // (2 * self._workers)))  # the last ones are small
            items = [self._first.popleft() for _ in range(size)]
            return Share(items, self._first_s(), alone=False)
        if self._again and self.left_s > 0:
            return Share([self._again.popleft()], (1 - _FIRST) * self._timeout_s, alone=True)
        return None

    def _first_s(self) -> float:
        """What a first try may take: each worker may meet one that takes all of it."""
        first_s = _FIRST * self._timeout_s
        spare_s = self.left_s - _EACH_S * self._untried
        return first_s if spare_s > first_s * self._workers else min(first_s, _FEW_S)

    def judged(self, share: Share, verdicts: Sequence[int], used_s: float) -> None:
        """Take in the verdicts of a share, which may end early.

        Args:
            share: What was judged.
            verdicts: Of its first items; the last may be `TOO_SLOW`, `CRASHED` or `UNFORKED`.
            used_s: Seconds of the processor that it took.
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
        """Have a share judged again: its worker was killed, or had no process to judge it in."""
        self.troubles += 1
        (self._again if share.alone else self._first).extendleft(reversed(share.items))
