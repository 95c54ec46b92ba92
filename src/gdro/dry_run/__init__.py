"""Dry runs: a recipe or a verl run on a CPU, with a tiny model and few rows; estimates of cost."""
