"""Compositions that have a name of their own, and other names of strategies."""

from __future__ import annotations

from dataclasses import dataclass

ALIASES = {"grpo": "uniform"}
_PAPER_MAX = 12


@dataclass(frozen=True)
class NamedComposition:
    """A composition with a name of its own.

    Attributes:
        text: The composition; `{n_max}` in it is twice the mean number of rollouts of a prompt, `{wide}`
            the same but at least the paper's 12.
        note: Its purpose in one line.
        condition: When it may be used, in words; empty: always.
    """

    text: str
    note: str
    condition: str = ""

    def written(self, mean_rollouts: int) -> str:
        """The composition for a mean number of rollouts of a prompt (n_bar).

        >>> NamedComposition("rollout-gdro(n_max={n_max}) + memory", "").written(4)
        'rollout-gdro(n_max=8) + memory'
        """
        n_max = 2 * mean_rollouts
        return self.text.format(n_max=n_max, wide=max(_PAPER_MAX, n_max))


PRESETS = {
    "gdro": NamedComposition(
        "rollout-gdro(n_max={wide}) + memory",
        "the default: what trains where no strategy is named (gdro.default_strategy)",
    ),
    "gdro-tail": NamedComposition(
        "mopps(target=0.1) + rollout-gdro(n_max={n_max}) + passk-advantages + "
        "memory(replay_weight=1, anchor_pick=least, anchors=0.125, anchor_advantage=0.5)",
        "the strongest on a hard tail: draws prompts near a pass rate of .1 and weighs pass@2",
        "only where the whole work is checked, as in proofs, full tests of programs and exact outputs; "
        "where a lucky final answer counts as right, mean accuracy falls",
    ),
}
