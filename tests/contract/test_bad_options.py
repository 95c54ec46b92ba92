"""Unknown or out-of-range options are refused with a message that says what is allowed."""

from __future__ import annotations

import re

import pytest

import gdro
from gdro import Controller, Difficulty, Problem, make_strategy
from helpers import raises

STRATEGY_FAULTS = [
    ("unifrom", {}, ["unifrom", "did you mean 'uniform'", "rollout-gdro"]),
    ("zzz", {}, ["zzz", "known:", "joint"]),
    ("prompt-gdro", {"etta": 1.0}, ["etta", "did you mean 'eta'", "gamma"]),
    ("uniform", {"eta": 1.0}, ["eta", "known: none"]),
    ("prompt-gdro", {"eta": -1.0}, ["eta is -1.0", "0 or more"]),
    ("prompt-gdro", {"eta": float("nan")}, ["eta is nan"]),
    ("prompt-gdro", {"eta": float("inf")}, ["eta is inf"]),
    ("prompt-gdro", {"gamma": 1.5}, ["gamma is 1.5", "0 to 1"]),
    ("prompt-gdro", {"beta": 0.0}, ["beta", "above 0"]),
    ("prompt-gdro", {"signal": "luck"}, ["luck", "failure, reward, surrogate"]),
    ("prompt-gdro", {"score": "sum"}, ["sum", "ema, cumulative"]),
    ("prompt-gdro", {"clip": 0.0}, ["clip", "above 0"]),
    ("prompt-gdro", {"cap": 0.5}, ["cap is 0.5", "1 or more"]),
    ("prompt-gdro", {"normalise": "no"}, ["mean_one_active"]),
    ("prompt-gdro", {"mode": "both"}, ["reweight, resample"]),
    ("prompt-gdro", {"ambiguity": "tv"}, ["tv", "entropy, cvar, chi2"]),
    ("prompt-gdro", {"ambiguity": "cvar", "level": 0.0}, ["level is 0.0", "above 0"]),
    ("prompt-gdro", {"ambiguity": "chi2", "radius": -1.0}, ["radius is -1.0"]),
    ("prompt-gdro", {"ambiguity": "cvar", "score": "tinf"}, ["entropy", "score='ema'"]),
    ("prompt-gdro", {"score": "exp3p", "signal": "reward"}, ["reward", "bounds are for signals"]),
    ("prompt-gdro", {"score": "tinf", "normalise": "raw"}, ["raw", "exponential weights"]),
    ("prompt-gdro", {"horizon": 0}, ["horizon is 0"]),
    ("prompt-gdro", {"delta": 1.0}, ["delta is 1.0"]),
    ("prompt-gdro", {"importance_weight": True}, ["only with mode='resample'"]),
    ("rollout-gdro", {"n_min": 1}, ["n_min is 1", "2 or more", "no advantage"]),
    ("rollout-gdro", {"n_min": 5, "n_max": 4}, ["n_max is 4", "n_min=5"]),
    ("rollout-gdro", {"solver": "lp"}, ["lp", "exact, exp3p"]),
    ("rollout-gdro", {"utility": "loss"}, ["loss", "discovery", "exact"]),
    ("rollout-gdro", {"solver": "exp3p", "utility": "hit"}, ["hit", "loss with solver='exp3p'"]),
    ("rollout-gdro", {"solver": "exp3p", "per": "prompt"}, ["per", "solver='exact'"]),
    ("rollout-gdro", {"per": "batch"}, ["batch", "bin, or prompt"]),
    ("rollout-gdro", {"gamma": 0.0}, ["gamma", "above 0"]),
    ("rollout-gdro", {"arm_ema": 2.0}, ["arm_ema is 2.0", "at most 1"]),
    ("rollout-gdro", {"alpha_mu": 0.0}, ["alpha_mu", "above 0"]),
    ("maxrl", {"k": 2}, ["maxrl", "'k'", "known: none"]),
    ("curverl", {"window": -1}, ["window is -1", "0 or more"]),
    ("curverl", {"classes": 1}, ["classes is 1", "2 or more"]),
    ("bbg", {"k": 0}, ["k is 0", "1 to 100000"]),
    ("bbg", {"room": 1.0}, ["room is 1.0", "below 1"]),
    ("pilot-commit", {"commit": 0.0}, ["commit is 0.0", "above 0"]),
    ("pilot-commit", {"low": 0.8}, ["low is 0.8", "0 to high=0.75"]),
    ("pilot-commit", {"evict": 0.7}, ["evict is 0.7", "high=0.75 or more"]),
    ("pilot-commit", {"max_pilots": 0}, ["max_pilots is 0", "1 or more"]),
    ("pilot-commit + mopps", {}, ["pilot-commit", "mopps"]),
    ("joint", {"weigher": "promt-gdro"}, ["did you mean 'prompt-gdro'"]),
    ("joint", {"allocator": {"n_min": 2}}, ["allocator", "'name'"]),
    ("joint", {"allocator": {"name": "rollout-gdro", "n_mn": 2}}, ["did you mean 'n_min'"]),
    (
        "joint",
        {"weigher": {"name": "prompt-gdro", "mode": "resample"}},
        ["selector", "a weigher that reweights"],
    ),
]


@pytest.mark.parametrize(("name", "options", "words"), STRATEGY_FAULTS)
def test_bad_strategy_or_option(name, options, words):
    with raises(gdro.StrategyError, *words):
        make_strategy(name, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"tracker": "kalman"},
        {"estimator": "mle"},
        {"k": 0},
        {"hysteresis": 0.1},
        {"hysteresis": -0.01},
        {"decay": 1.1},
        {"window": 0},
        {"prior_strength": 0.0},
        {"prior_decay": 1.0},
    ],
)
def test_bad_difficulty(options):
    (name, value) = next(iter(options.items()))
    with raises(gdro.StrategyError, f"{name} is {value!r}", "allowed", "0 <= hysteresis < 0.1"):
        Difficulty(**options)


@pytest.mark.parametrize("edges", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.7, 0.2)])
def test_bad_edges(edges):
    with raises(gdro.StrategyError, "edges", "increase strictly inside"):
        Difficulty(edges=edges)


@pytest.mark.parametrize("text", ["joint + memory", "memory + joint"])
def test_a_joint_joins_nothing_but_says_what_does(text):
    parts = "rollout-gdro + prompt-gdro + memory"
    with raises(gdro.StrategyError, "already", re.escape(repr(parts)), r"joint\(remember=memory\)"):
        make_strategy(text)
    assert make_strategy(parts) == make_strategy("joint(remember=memory)")


def test_what_is_no_strategy_is_refused_with_the_fix():
    pool = Problem(["a"])
    for got in (None, 3):
        with raises(gdro.StrategyError, repr(got), "uniform", "default_strategy"):
            make_strategy(got)
    for got, fix in (("hora", r"make_strategy\('hora'\)"), (None, r"make_strategy\(NAME\)")):
        with raises(gdro.StrategyError, repr(got), fix):
            Controller(got, pool)
    for got, fix in (({"k": 4}, r"Difficulty\(k=4\)"), ("windowed", r"Difficulty\(\.\.\.\)")):
        with raises(gdro.StrategyError, repr(got), fix):
            Controller(make_strategy("uniform"), pool, difficulty=got)
