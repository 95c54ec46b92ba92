"""A simulated policy that learns on synthetic prompts, to test controllers at scale without a model."""

from gdro.simulate.population import Population, SimulatedPolicy
from gdro.simulate.run import Simulation, simulate

__all__ = ["Population", "SimulatedPolicy", "Simulation", "simulate"]
