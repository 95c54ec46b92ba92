"""Slices of held-out prompts by the pass rate of the base model."""

SLICES = (
    ("hardest (base p < .02)", 0.0, 0.02),
    ("hard (.02 to .3)", 0.02, 0.3),
    ("medium (.3 to .9)", 0.3, 0.9),
    ("easy (base p >= .9)", 0.9, 1.01),
)
"""Name, least pass rate, upper bound of the pass rate."""
