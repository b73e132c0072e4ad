from __future__ import annotations

import threading

import pytest
import torch

from ranksrgan.srgan.data.ahead import in_order


def test_results_come_in_order_whoever_finishes_first() -> None:
    last_started = threading.Event()

    def work(item: int) -> int:
        if item == 3:
            last_started.set()
        elif item == 0:
            assert last_started.wait(60)
        return item * item

    assert list(in_order(work, range(4), workers=2)) == [0, 1, 4, 9]


def test_threads_are_no_further_ahead_than_twice_their_number() -> None:
    given: list[int] = []

    def items() -> object:
        for item in range(100):
            given.append(item)
            yield item

    results = in_order(lambda item: item, items(), workers=3)  # type: ignore[arg-type]
    assert given == []
    for done in range(1, 20):
        assert next(results) == done - 1
        assert len(given) == 6 + done
    results.close()


def test_an_error_is_raised_where_its_result_is_due() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = in_order(work, range(10), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_nothing_runs_after_closing() -> None:
    started: list[int] = []
    results = in_order(lambda item: started.append(item), range(1000), workers=1)
    next(results)
    results.close()
    count = len(started)
    assert count <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_operators_stay_in_their_thread_and_those_of_others_do_not() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = list(in_order(lambda _: torch.get_num_threads(), range(8), workers=2))
        elsewhere: list[int] = []
        other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert seen == [1] * 8
        assert elsewhere == [2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
