"""Plans in flight: each is closed once, and there is a limit."""

from __future__ import annotations

import gdro
import helpers as h
from helpers import raises


def test_ticket_closed_twice_or_abandoned_twice():
    c = h.controller()
    plan = c.plan(h.request())
    h.close(c, plan)
    before = c.digest()
    for act in (c.weigh, c.observe):
        with raises(gdro.TicketError, "ticket 0", "closed already", "once"):
            act(h.score(plan).outcome)
    with raises(gdro.TicketError, "ticket 0", "closed already"):
        c.abandon(0)
    with raises(gdro.TicketError, "ticket -1", "never issued"):
        c.abandon(-1)
    assert c.digest() == before


def test_max_pending():
    c = h.controller(max_pending=2)
    c.plan(h.request())
    c.plan(h.request())
    before = c.digest()
    with raises(gdro.TicketError, "2 plans", "max_pending is 2", "observe", "abandon"):
        c.plan(h.request())
    assert c.digest() == before
    c.abandon(0)
    assert c.plan(h.request()).ticket == 2
