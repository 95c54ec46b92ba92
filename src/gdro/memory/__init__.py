"""Stored successes: how they join a step, their advantages, and the store of their tokens."""
