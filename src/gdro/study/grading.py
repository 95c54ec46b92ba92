"""What counts as right: the whole work, or the final answer alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdro.errors import StudyError
from gdro.study.testbed import END, PAD
from gdro.study.variant import CHOICES


@dataclass(frozen=True)
class Grader:
    """Compares answers in tokens.

    Attributes:
        final_tokens: Tokens before the end that are the final answer; 0: the whole answer is compared.
        choices: If not 0, only the final answer's remainder by this number is compared, as if it were
            one of so many options: a guess is right about once in `choices`.

    >>> given = torch.tensor([[7, 5, END, 0], [5, END, 0, 0], [7, 6, END, 0], [7, 7, 7, 5]])
    >>> answer = torch.tensor([8, 5, END, 0]).expand(4, 4)
    >>> Grader(1).right(given, answer).tolist(), Grader(0).right(given, answer).tolist()
    ([True, True, False, False], [False, False, False, False])
    >>> Grader(1, choices=2).right(given, torch.tensor([8, 7, END, 0]).expand(4, 4)).tolist()
    [True, True, False, False]
    """

    final_tokens: int = 0
    choices: int = 0

    def right(self, given: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """Whether each answer is right, shape (...), from token ids of shape (..., G).

        An answer that never ends has no final answer; an accepted one without an end matches nothing.
        """
        if not self.final_tokens:
            return (given == answer).all(-1)
        (mine, ended), (wanted, exists) = self._final(given), self._final(answer)
        if self.choices:
            mine, wanted = mine % self.choices, wanted % self.choices
        return (mine == wanted).all(-1) & ended & exists

    def _final(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The final answer, shape (..., final_tokens), and whether there is one, shape (...)."""
        at_end = tokens == END
        first = at_end.int().argmax(-1)
        place = first.unsqueeze(-1) - torch.arange(self.final_tokens, 0, -1)
        return tokens.gather(-1, place.clamp(min=0)), at_end.any(-1) & (first >= self.final_tokens)


def credit(given: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Share of an answer's leading tokens, its end included, that are right, shape (...).

    An answer that no rollout can give (of negative tokens) earns nothing.

    >>> answer = torch.tensor([8, 5, END, PAD]).expand(3, 4)
    >>> credit(torch.tensor([[8, 5, END, PAD], [8, 7, END, PAD], [9, 5, END, PAD]]), answer).tolist()
    [1.0, 0.3333333432674408, 0.0]
    """
    length = (answer != PAD).sum(-1).clamp(min=1)
    leading = (given == answer).int().cumprod(-1).sum(-1)
    return leading.clamp(max=length) / length


def grader_of(grade: str, final_tokens: int) -> Grader:
    """The grader of a testbed whose final answers have so many tokens.

    Raises:
        StudyError: Options are graded, and final answers have more than one token.
    """
    if grade == "work":
        return Grader()
    options = CHOICES.fullmatch(grade)
    if options is None:
        return Grader(final_tokens)
    if final_tokens != 1:
        raise StudyError(
            f"variant.grade is {grade!r}, but final answers of this task have {final_tokens} tokens; "
            "options need one token (chains, arithmetic), so write grade: final"
        )
    return Grader(final_tokens, int(options[1]))
