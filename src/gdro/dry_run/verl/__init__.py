"""verl's own `main_ppo` on a CPU, with a tiny model, for dry runs and tests."""
