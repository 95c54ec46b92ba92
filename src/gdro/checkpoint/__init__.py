"""A run's state in one file: the archive, how objects become arrays, and prompts followed by key."""
