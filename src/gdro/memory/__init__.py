"""Remembered successes: where they join a step, their advantages, and the store of their tokens."""
