"""Names of strategies: any case, aliases, presets, lists of parts, and those of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from gdro import (
    Controller,
    Problem,
    Strategy,
    StrategyError,
    default_strategy,
    list_strategies,
    make_strategy,
)
from gdro.strategies import names
from gdro.strategies.baselines.dapo import Dapo
from gdro.strategies.baselines.daro import Daro
from gdro.strategies.default import condition_of
from gdro.strategies.joint import Joint
from gdro.strategies.presets import ALIASES, PRESETS
from gdro.strategies.registry import named, text_of


def said(words, written, **options):
    with pytest.raises(StrategyError) as refused:
        make_strategy(written, **options)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Rollout-GDRO", "rollout-gdro"),
        ("ROLLOUT_GDRO", "rollout-gdro"),
        ("grpo", "uniform"),
        ("GRPO", "uniform"),
        ("MoPPS(target=0.4) + Rollout_GDRO", "mopps(target=0.4) + rollout-gdro"),
        ("grpo + Memory", "uniform + memory"),
        (["rollout-gdro", "memory"], "rollout-gdro + memory"),
        (("Rollout-GDRO", {"name": "Memory", "max_misses": 2}), "rollout-gdro + memory(max_misses=2)"),
        (["mopps(rule=band) + memory", "hora"], "mopps(rule=band) + memory + hora"),
        (["hora"], "hora"),
    ],
)
def test_what_names_mean(written, meant):
    assert make_strategy(written) == make_strategy(meant)
    assert text_of(written) == meant


def test_a_list_takes_strategies_that_are_made():
    parts = [make_strategy("memory", max_misses=1), "rollout-gdro"]
    assert make_strategy(parts) == make_strategy("memory(max_misses=1) + rollout-gdro")


def test_presets():
    assert make_strategy("gdro") == make_strategy("GDRO") == default_strategy()
    for preset in PRESETS.values():
        for mean in (2, 4, 16):
            allocator = named(preset.written(mean), {}).allocator
            assert allocator.n_max == max(2 * mean, 12 if "{wide}" in preset.text else 0)
    assert named("gdro", {}, 16) == default_strategy(16)
    bounded = make_strategy("gdro", Memory={"max_misses": 1})
    assert bounded.rememberer == make_strategy("memory", max_misses=1)
    assert not {*PRESETS, *ALIASES} & set(list_strategies())


@pytest.mark.parametrize(
    ("written", "options", "words"),
    [
        ([], {}, ["is []", "a list of them"]),
        ([3], {}, ["part of a composition is 3", "'name'"]),
        ([{"target": 0.4}], {}, ["part of a composition", "'name'"]),
        ("gdro", {"n_max": 8}, ["no part 'n_max'", "{'rollout-gdro': {'n_max': ...}}"]),
        ("gdro", {"memory": 3}, ["options of 'memory' are 3", "by part"]),
        ("gdro(n_max=8)", {}, ["options to the preset", "rollout-gdro"]),
        (["memory", "Memory"], {}, ["'memory' twice"]),
        ("gdor", {}, ["did you mean 'gdro'"]),
        ("GRPOO", {}, ["unknown strategy 'GRPOO'"]),
    ],
)
def test_what_is_refused(written, options, words):
    said(words, written, **options)


def test_every_strategy_is_in_the_table():
    """No installed metadata is needed: the table alone has a class for each file."""
    found = {value.rpartition(":")[0].rpartition(".")[2] for value in names.BUILT_IN.values()}
    folder = Path(names.__file__).parent
    for path in folder.glob("*.py"):
        if "(Strategy[" in path.read_text():
            assert path.stem in found, f"{path.name} has no line in BUILT_IN"
    for name, value in names.BUILT_IN.items():
        assert names.strategy_class(name).name == name, value


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points of other packages."""
    points: list[EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    names._table.cache_clear()
    yield points
    names._table.cache_clear()


def declare(points: list[EntryPoint], name: str, value: str) -> None:
    points.append(EntryPoint(name, value, names.GROUP))
    names._table.cache_clear()


def test_a_strategy_of_another_package(foreign):
    declare(foreign, "My_Own", "gdro.strategies.baselines.hora:Hora")
    assert "My_Own" in list_strategies()
    assert make_strategy("my-own + memory") == make_strategy("hora + memory")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "hora",
            "other:Hora",
            ["'hora' is taken twice", "gdro.strategies.baselines.hora:Hora and other:Hora"],
        ),
        ("gdro", "other:Hora", ["'gdro' is taken twice", "other:Hora", "gdro's own"]),
        ("grpo", "other:Hora", ["'grpo' is taken twice", "other:Hora", "gdro's own"]),
        ("mine", "no_such_package:Mine", ["'mine'", "cannot be loaded", "no_such_package"]),
        ("mine", "gdro.strategies.baselines.hora:Nope", ["'mine'", "cannot be loaded", "Nope"]),
        ("mine", "gdro.errors:GdroError", ["'mine'", "derived from gdro.Strategy"]),
        ("mine", "gdro.cli.explain:table", ["'mine'", "derived from gdro.Strategy"]),
    ],
)
def test_entry_points_that_cannot_serve(foreign, name, value, words):
    declare(foreign, name, value)
    said(words, name)
    assert make_strategy("uniform").name == "uniform"


def test_names_of_two_packages_that_differ_in_case(foreign):
    declare(foreign, "Mine", "gdro.strategies.baselines.hora:Hora")
    declare(foreign, "mine", "gdro.strategies.baselines.sec:Sec")
    assert {make_strategy(name).name for name in ("Mine", "mine")} == {"hora", "sec"}


@pytest.mark.parametrize("mean", [1, 0, 2.5, True, "4", None])
def test_the_default_is_for_a_whole_number_of_rollouts(mean):
    with pytest.raises(StrategyError, match=f"mean_rollouts is {mean!r}; .* whole number of at least 2"):
        default_strategy(mean)


@pytest.mark.parametrize("mean", [2, 3, 4, 6, 7, 8, 16])
def test_the_default_has_room_at_every_mean(mean):
    made = default_strategy(mean)
    assert (made.allocator.n_min, made.allocator.n_max) == (2, max(12, 2 * mean))
    assert (made.rememberer.replay_weight, made.rememberer.anchor_pick) == (0.25, "random")
    assert (made.selector.name, made.weigher.name) == ("uniform", "uniform")


def test_a_condition_follows_its_preset_into_compositions():
    for written, mean in (
        ("gdro-tail", 4),
        ("gdro-tail", 8),  # made for 4 rollouts, used at another mean
        ("gdro-tail + dapo", 4),
        (
            "mopps(target=0.2) + rollout-gdro(n_max=9) + passk-advantages + "
            "memory(replay_weight=1, anchor_pick=least)",
            4,
        ),
    ):
        assert "the whole work" in condition_of(make_strategy(written), mean), written
    for written in ("gdro", "gdro + dapo", "uniform", "memory", "mopps + rollout-gdro + memory"):
        assert condition_of(make_strategy(written), 4) == "", written


@pytest.mark.parametrize(
    ("roles", "hooks", "words"),
    [
        (None, ["extend"], ["overrides extend", "declares no roles", "never be called"]),
        (("weight",), ["weigh"], ["has roles ('weight',)", "a tuple of select"]),
        ("weigh", ["weigh"], ["has roles 'weigh'", "a tuple of select"]),
        (("weigh", "select"), ["weigh"], ["role 'select'", "does not override select()"]),
    ],
)
def test_roles_that_do_not_fit_are_refused_alone_and_in_a_joint(roles, hooks, words):
    methods = {hook: getattr(Dapo if hook == "extend" else Daro, hook) for hook in hooks}
    declared = {} if roles is None else {"roles": roles}
    forgetful = type("Forgetful", (Strategy,), {"name": "forgetful", **methods, **declared})()
    for make in (
        lambda: Controller(forgetful, Problem(["a", "b"])),
        lambda: Joint(weigher=forgetful),
        lambda: make_strategy([forgetful, "rollout-gdro"]),
    ):
        with pytest.raises(StrategyError) as caught:
            make()
        assert all(word in str(caught.value) for word in words), str(caught.value)
