"""Tickets of calls whose requests come soon, late, or never."""

from __future__ import annotations

from collections.abc import Callable

from ranksrgan.contracts.serving.tickets import SOON, Ticket, Tickets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def never() -> None:
    raise AssertionError("a call was ended")


def taken(tickets: Tickets, end: Callable[[], None] = never) -> Ticket:
    ticket = tickets.take(end)
    assert ticket is not None
    return ticket


def test_a_call_that_has_just_begun_holds_room_for_its_request() -> None:
    tickets = Tickets(2, Clock())
    first, second = taken(tickets), taken(tickets)
    assert (tickets.left, tickets.take(never)) == (0, None)
    assert tickets.arrived(first)
    assert tickets.take(never) is None
    tickets.give(first)
    assert tickets.left == 1
    tickets.give(second)  # its request never came
    assert tickets.left == 2


def test_a_slow_request_takes_the_room_that_there_is_when_it_comes() -> None:
    clock = Clock()
    tickets = Tickets(1, clock)
    slow = taken(tickets)
    clock.now += SOON
    quick = taken(tickets)
    assert tickets.arrived(quick)
    assert not tickets.arrived(slow)
    tickets.give(slow)
    assert tickets.take(never) is None
    tickets.give(quick)
    slow = taken(tickets)
    clock.now += SOON
    assert tickets.left == 1
    assert tickets.arrived(slow)
    assert tickets.left == 0
    tickets.give(slow)
    assert tickets.left == 1


def test_slow_requests_are_bounded_and_do_not_disturb_quick_ones() -> None:
    clock = Clock()
    tickets = Tickets(2, clock)
    ended: list[str] = []
    slow = [taken(tickets), taken(tickets)]
    clock.now += SOON
    further = taken(tickets, lambda: ended.append("further"))
    clock.now += SOON
    assert not ended  # nobody needs its room
    quick = taken(tickets)
    assert ended == ["further"]
    assert not tickets.arrived(further)
    assert tickets.arrived(quick)
    assert tickets.left == 1
    for ticket in (*slow, further, quick):
        tickets.give(ticket)
    assert tickets.left == 2


def test_a_slow_request_need_not_wait_for_others_that_are_slow_too() -> None:
    """Nobody has begun a call since, and nobody works."""
    clock = Clock()
    tickets = Tickets(2, clock)
    slow = taken(tickets)
    clock.now += SOON
    others = [taken(tickets), taken(tickets)]
    clock.now += 30
    assert tickets.arrived(slow)
    assert tickets.left == 1
    assert tickets.arrived(others[0])
    assert not tickets.arrived(others[1])
