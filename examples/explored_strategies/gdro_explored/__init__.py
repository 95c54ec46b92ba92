"""Strategies that were explored and lost, published as a package of their own."""
