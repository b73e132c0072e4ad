"""In which thread gRPC calls what answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ranksrgan.contracts.serving.call_threads import AT_ONCE, InPool, same_threads


def test_at_once_is_here_and_now() -> None:
    found = AT_ONCE.submit(threading.get_ident)
    assert found.done()
    assert found.result() == threading.get_ident()


def test_what_goes_wrong_at_once_is_the_futures() -> None:
    def fail() -> None:
        raise KeyError("that")

    failed = AT_ONCE.submit(fail)
    with pytest.raises(KeyError, match="that"):
        failed.result()


def test_who_surrounds_a_behaviour_stays_in_its_pool() -> None:
    def surrounded(*arguments: object) -> tuple[object, ...]:
        return arguments

    assert same_threads(surrounded, len) is surrounded
    with ThreadPoolExecutor(1) as pool:
        there = same_threads(surrounded, InPool(len, pool))
        assert there.experimental_thread_pool is pool  # type: ignore[attr-defined]
        assert there("requests", "context") == ("requests", "context")
