"""A population of prompts that learns, to see controllers at scale without a model."""

from gdro.simulate.population import Population, World
from gdro.simulate.run import Simulation, simulate

__all__ = ["Population", "Simulation", "World", "simulate"]
