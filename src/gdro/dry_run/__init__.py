"""verl on a CPU, from outside: start its `main_ppo` on a tiny model."""
