"""Compositions that have a name of their own, and other names of strategies."""

from __future__ import annotations

from dataclasses import dataclass

ALIASES = {"grpo": "uniform"}


@dataclass(frozen=True)
class Preset:
    """A composition with a name.

    Attributes:
        text: The composition; `{n_max}` in it is twice the mean number of rollouts of a prompt.
        note: What it is for, and its condition if it has one, in one line.
    """

    text: str
    note: str

    def written(self, mean_rollouts: int) -> str:
        """The composition for a trainer that gives a prompt so many rollouts on average (n_bar).

        >>> Preset("rollout-gdro(n_max={n_max}) + memory", "").written(4)
        'rollout-gdro(n_max=8) + memory'
        """
        return self.text.format(n_max=2 * mean_rollouts)


PRESETS = {
    "gdro": Preset(
        "mopps(target=0.1) + rollout-gdro(n_max={n_max}) + passk-advantages + memory",
        "the default: what trains where no strategy is named (gdro.default_strategy)",
    ),
}
