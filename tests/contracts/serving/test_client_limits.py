"""Shares of clients, by a clock of the test's."""

from __future__ import annotations

import threading

import pytest

from ranksrgan.contracts.errors import Overloaded
from ranksrgan.contracts.serving.client_limits import ClientLimiter, ClientLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reads_all(client: str) -> int:
    """How many of its answers a client does not read."""
    return 0


def begin_and_end(limiter: ClientLimiter, client: str) -> None:
    with limiter.admitted(client):
        pass


def test_calls_at_a_time() -> None:
    limiter = ClientLimiter(ClientLimits(at_a_time=2), reads_all)
    with limiter.admitted("a"), limiter.admitted("a"):
        with pytest.raises(Overloaded, match="a has 2 calls open, and 2 at a time"):
            begin_and_end(limiter, "a")
        begin_and_end(limiter, "b")
    begin_and_end(limiter, "a")


def test_answers_that_are_not_read_count_as_calls() -> None:
    unread = {"a": 1, "b": 2}
    limiter = ClientLimiter(ClientLimits(at_a_time=2), unread.__getitem__)
    with limiter.admitted("a"):
        with pytest.raises(Overloaded, match="a has 2 calls open, 1 of them with answers that it"):
            begin_and_end(limiter, "a")
        with pytest.raises(Overloaded, match="b has 2 calls open, 2 of them"):
            begin_and_end(limiter, "b")
        unread["b"] = 1
        begin_and_end(limiter, "b")


def test_a_call_that_fails_gives_its_place_back() -> None:
    limiter = ClientLimiter(ClientLimits(at_a_time=1), reads_all)
    with pytest.raises(ValueError, match="x"), limiter.admitted("a"):
        raise ValueError("x")
    begin_and_end(limiter, "a")


def test_calls_a_minute() -> None:
    clock = Clock()
    limiter = ClientLimiter(ClientLimits(per_minute=6), reads_all, clock)
    for _ in range(6):
        begin_and_end(limiter, "a")
    with pytest.raises(Overloaded, match=r"a has begun 6 calls .*; try again in 10\.0 s") as caught:
        begin_and_end(limiter, "a")
    assert caught.value.retry_after == pytest.approx(10.0)
    begin_and_end(limiter, "b")
    clock.now = 9.0
    with pytest.raises(Overloaded, match=r"try again in 1\.0 s"):
        begin_and_end(limiter, "a")
    clock.now = 10.0
    begin_and_end(limiter, "a")
    clock.now = 10_000.0  # no more than a minute's worth is saved up
    for _ in range(6):
        begin_and_end(limiter, "a")
    with pytest.raises(Overloaded):
        begin_and_end(limiter, "a")


def test_what_is_refused_by_one_limit_costs_nothing_of_the_other() -> None:
    clock = Clock()
    limiter = ClientLimiter(ClientLimits(at_a_time=1, per_minute=2), reads_all, clock)
    with limiter.admitted("a"):
        for _ in range(5):
            with pytest.raises(Overloaded, match="at a time"):
                begin_and_end(limiter, "a")
    begin_and_end(limiter, "a")


def test_clients_without_limits_are_not_even_counted() -> None:
    limiter = ClientLimiter(ClientLimits(), reads_all)
    for _ in range(100):
        begin_and_end(limiter, "a")
    assert not limiter._clients


def test_the_many_that_come_once_are_forgotten_and_debts_are_not() -> None:
    clock = Clock()
    limiter = ClientLimiter(ClientLimits(at_a_time=1, per_minute=1), reads_all, clock)
    with limiter.admitted("open"):
        for number in range(5000):
            clock.now += 1.0
            begin_and_end(limiter, f"10.0.0.{number}")
        assert len(limiter._clients) <= 1024
        with pytest.raises(Overloaded, match="open has 1 calls open"):
            begin_and_end(limiter, "open")
    with pytest.raises(Overloaded, match="a minute"):
        begin_and_end(limiter, "10.0.0.4999")


def test_threads_do_not_take_more_than_their_share() -> None:
    limiter = ClientLimiter(ClientLimits(at_a_time=3), reads_all)
    leave, arrived, outcomes = threading.Event(), threading.Barrier(9), []

    def call() -> None:
        try:
            with limiter.admitted("a"):
                outcomes.append("in")
                arrived.wait(30)
                leave.wait(30)
        except Overloaded:
            outcomes.append("refused")
            arrived.wait(30)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    arrived.wait(30)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert (outcomes.count("in"), outcomes.count("refused")) == (3, 5)
