"""Published baselines and placebos, in the interface of gdro's own strategies."""
