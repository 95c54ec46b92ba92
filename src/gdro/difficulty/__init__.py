"""How difficult prompts are believed to be: the online tracker, its bins, what strategies may ask."""

from gdro.difficulty.tracker import Difficulty as Difficulty
