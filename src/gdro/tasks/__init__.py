"""Tasks that recipes train on: data, reward functions and a model to start from."""
