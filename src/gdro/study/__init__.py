"""Paired-seed studies of strategies on small models, at equal rollouts."""
