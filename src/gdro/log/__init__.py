"""The run log: its files, the records of a step, and the curriculum that they show."""
