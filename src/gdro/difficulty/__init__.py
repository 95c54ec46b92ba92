"""Estimated difficulty of prompts: the online tracker, its bins, and the view that strategies get."""

from gdro.difficulty.tracker import Difficulty as Difficulty
