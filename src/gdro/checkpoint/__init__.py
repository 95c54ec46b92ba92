"""Checkpoints: the archive file, the codec of states to arrays, and prompts matched by key."""
