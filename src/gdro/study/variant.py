"""How a testbed's answers are graded, and what is wrong with its pool."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from math import isclose
from typing import Any

from gdro.errors import StudyError

GRADES = ("work", "final")
CHOICES = re.compile(r"final/([2-9])")
_SHARES = ("unsolvable", "wrong_labels", "refused", "verifier_noise", "tail")
_LATER = (
    "refused",
    "credit",
    "sources",
    "checker",
)  # not part of the identity of runs that do not use them


@dataclass
class Variant:
    """How answers are graded, and what is wrong with a pool.

    Args:
        grade: What is graded, in training and evaluation: the whole `work`, or like most verifiers the
            `final` answer alone, which can be right by luck. `final/4` grades it like multiple choice
            with four options: answers with the same remainder by 4 are one option.
        unsolvable: Share of training problems whose answer no rollout can give.
        wrong_labels: Share of training problems graded against a wrong answer.
        refused: Share of training problems from a source whose right answers the grader refuses, as
            with an unexpected format; in evaluation they are accepted.
        verifier_noise: Probability that a training reward is flipped.
        credit: Whether the reward is partial credit: the share of the answer's leading tokens that are
            right, 0 to 1. Only a complete answer counts as right.
        tail: Share of problems with a base pass rate below .02, in the pool and held out; None: as
            drawn.
        sources: Shares of the training pool of each level of the task, the easiest first, which add up
            to 1; the held-out problems have equal shares. None: as drawn.
        checker: Accuracy of a check of the work of right answers, .5 up to 1, whose objections keep
            successes out of memory; None: there is no check.
        once: Whether every training problem is offered only once.
    """

    grade: str = "work"
    unsolvable: float = 0.0
    wrong_labels: float = 0.0
    refused: float = 0.0
    verifier_noise: float = 0.0
    credit: bool = False
    tail: float | None = None
    sources: list[float] | None = None
    checker: float | None = None
    once: bool = False

    def __post_init__(self) -> None:
        if self.grade not in GRADES and not CHOICES.fullmatch(self.grade):
            raise StudyError(
                f"variant.grade is {self.grade!r}; allowed: {', '.join(GRADES)}, or final/K with "
                "K from 2 to 9, like multiple choice with K options"
            )
        for name in ("credit", "once"):
            if not isinstance(getattr(self, name), bool):
                raise StudyError(f"variant.{name} is {getattr(self, name)!r}; allowed: true or false")
        for name in _SHARES:
            value = getattr(self, name) or 0.0
            if not 0.0 <= value < 1.0:
                raise StudyError(f"variant.{name} is {value}; allowed: 0 up to 1")
        if self.unsolvable + self.wrong_labels + self.refused > 1.0:
            raise StudyError(
                f"variant.unsolvable is {self.unsolvable}, wrong_labels {self.wrong_labels} and refused "
                f"{self.refused}; a problem can be only one of them, so their sum must be at most 1"
            )
        if self.credit and (self.grade != "work" or self.verifier_noise):
            raise StudyError(
                f"variant.credit needs grade: work and no verifier_noise, but grade is {self.grade!r} "
                f"and verifier_noise {self.verifier_noise}; remove one of them"
            )
        if self.checker is not None and not 0.5 <= self.checker <= 1.0:
            raise StudyError(f"variant.checker is {self.checker}; allowed: .5 up to 1")
        self._check_sources()

    def _check_sources(self) -> None:
        if self.sources is None:
            return
        positive = len(self.sources) > 1 and all(share > 0 for share in self.sources)
        if not positive or not isclose(sum(self.sources), 1.0, abs_tol=1e-6):
            raise StudyError(
                f"variant.sources is {self.sources}; it must be two or more shares above 0 that add up "
                "to 1"
            )
        if self.tail is not None:
            raise StudyError("variant.sources and variant.tail both choose the pool; remove one of them")

    def identity(self) -> dict[str, Any]:
        """Plain data by which runs of this variant are recognised."""
        plain = {field.name: field.default for field in fields(self)}
        given = asdict(self)
        return {k: v for k, v in given.items() if k not in _LATER or v != plain[k]}
