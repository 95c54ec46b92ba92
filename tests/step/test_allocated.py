"""Allocated groups: each is taken once, there is a limit, and checkpoints are read with care."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import Request
from gdro.step import allocated
from gdro.step.ledger import Ledger
from helpers import raises


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([16], ["group 16", "never allocated", "0, 2, 3", "each once"]),
        ([-1], ["group -1", "never allocated"]),
        ([2, 1], ["group 1", "adopted or evicted already"]),
        ([3, 2, 3], ["twice", "3, 2, 3"]),
        ([[0]], ["group_P", "1-D"]),
        ([0.5], ["group_P", "integers"]),
    ],
)
def test_a_group_is_taken_once_and_a_refusal_changes_nothing(groups, words):
    c = h.controller()
    c.allocate(h.request())
    c.evict(np.array([1]))
    before = c.digest()
    for take in (c.adopt, c.evict):
        with raises(gdro.TicketError, *words):
            take(np.array(groups))
    assert c.digest() == before


def test_nothing_can_be_evicted_but_not_adopted():
    c = h.controller()
    c.allocate(h.request())
    c.evict(np.zeros(0, np.int64))
    with raises(gdro.TicketError, "group_P is empty", "at least one"):
        c.adopt(np.zeros(0, np.int64))
    assert len(c.open_groups.group_P) == 16


def test_there_is_room_for_so_many_groups(monkeypatch):
    monkeypatch.setattr(allocated, "_MOST_GROUPS", 20)
    c = h.controller()
    c.allocate(h.request())
    before = c.digest()
    with raises(gdro.TicketError, "16 groups", "at most 20", "adopt", "evict"):
        c.allocate(h.request())
    assert c.digest() == before
    c.adopt(np.arange(4, 16))
    assert c.allocate(h.request()).group_P.tolist() == list(range(16, 32))


def test_plans_of_groups_are_in_flight_as_others(tmp_path):
    c = h.controller(max_pending=1)
    allocation = c.allocate(h.request())
    plan = c.adopt(allocation.group_P[:3])
    before = c.digest()
    with raises(gdro.TicketError, "1 plans", "max_pending"):
        c.adopt(allocation.group_P[3:])
    assert c.digest() == before
    c.abandon(plan.ticket)
    assert c.ledger.missing == 12 and c.open_groups.group_P.tolist() == list(range(3, 16))


def test_what_cannot_be_asked_for_is_refused_as_by_plan():
    c = h.controller("rollout-gdro")
    before = c.digest()
    with raises(gdro.RequestError, "num_prompts is 61", "60"):
        c.allocate(Request(61, 244))
    with raises(gdro.BudgetError, "n_max"):
        c.allocate(Request(2, 99))
    assert c.digest() == before


def test_a_run_that_never_allocates_is_saved_and_logged_as_before(tmp_path):
    c = h.controller("joint")
    h.warm(c, 2)
    state = c.state_dict()
    assert "allocated" not in state["header"]
    assert not any("allocated" in name for name in state["arrays"])
    assert not {"allocations", "evicted", "duplicates"} & set(state["header"]["ledger"])
    assert Ledger.of(state["header"]["ledger"]) == c.ledger
    c.allocate(h.request())
    assert {"allocations", "evicted", "duplicates"} <= set(c.ledger.as_dict())


def test_a_changed_dataset_evicts_what_is_open(tmp_path):
    c = h.controller()
    c.adopt(c.allocate(h.request()).group_P[:4])
    c.save(tmp_path / "state.npz")
    other = gdro.Controller(gdro.make_strategy("uniform"), h.problem(h.KEYS[::-1]))
    other.load(tmp_path / "state.npz", keys="match")
    assert not len(other.open_groups.group_P) and other.open_tickets == []
    assert (other.ledger.evicted, other.ledger.missing) == (48, 16)
    assert other.allocate(h.request()).group_P[0] == 16


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group_G", np.arange(16)[::-1]),
        ("group_G", np.arange(16) + 1),
        ("prompt_G", np.full(16, h.N)),
        ("rollouts_G", np.zeros(16, np.int64)),
        ("bin_G", np.full(16, 10)),
        ("bin_G", np.zeros(15, np.int64)),
        ("importance_G", np.full(16, np.nan)),
        ("mass_GB", np.zeros((16, 9))),
        ("shadow_G", np.zeros(16)),
        ("mass_GB", None),
    ],
)
def test_a_damaged_checkpoint_is_refused(name, value):
    c = h.controller()
    c.allocate(h.request())
    state = c.state_dict()
    state["arrays"] |= {f"allocated/{name}": value}
    if value is None:
        del state["arrays"][f"allocated/{name}"]
    other = h.controller()
    before = other.digest()
    with raises(gdro.CheckpointError, f"allocated/{name}"):
        other.load_state_dict(state)
    assert other.digest() == before


@pytest.mark.parametrize("counts", [[], {"groups": 16}, {"groups": -1, "allocations": 1}, "16"])
def test_a_damaged_header_is_refused(counts):
    c = h.controller()
    c.allocate(h.request())
    state = json.loads(json.dumps(c.state_dict()["header"])) | {"allocated": counts}
    with raises(gdro.CheckpointError, "allocated", "damaged"):
        h.controller().load_state_dict({"header": state, "arrays": c.state_dict()["arrays"]})
