"""Pure array functions: no state, no randomness, numpy only."""
