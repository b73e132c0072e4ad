from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Barrier, current_thread

import pytest
import torch

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import RequestCancelled
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler
from ranksrgan.srgan.upscaling.workers import Workers, workers


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_of_one() -> None:
    before = torch.get_num_threads()
    team = Workers(3)
    together = Barrier(3)  # three at a time, or this waits for ever

    def work(number: int) -> tuple[int, int, str]:
        together.wait(timeout=60)
        return number, torch.get_num_threads(), current_thread().name

    done = list(team.map(work, range(9)))
    assert [number for number, _, _ in done] == list(range(9))
    assert {threads for _, threads, _ in done} == {1}
    assert len({name for _, _, name in done}) == 3
    assert torch.get_num_threads() == before


def test_an_error_is_raised_and_the_team_goes_on() -> None:
    team = Workers(2)
    with pytest.raises(ZeroDivisionError):
        list(team.map(lambda number: 1 // number, [1, 0, 1]))
    assert list(team.map(abs, [-1, -2, -3])) == [1, 2, 3]


def test_cancellation_is_noticed_before_a_piece_is_begun() -> None:
    begun: list[int] = []
    with cancellation.scope(lambda: len(begun) < 1), pytest.raises(RequestCancelled):
        for _ in Workers(1).map(begun.append, range(9)):
            pass
    assert len(begun) <= 2


def test_there_is_one_team_a_process(two_threads: None) -> None:
    team = workers()
    assert team is not None
    assert team.count == 2
    assert workers() is team


def test_several_threads_make_the_same_picture(
    lively: Callable[..., SRResNet], two_threads: None
) -> None:
    images = torch.rand(1, 3, 40, 50)
    in_turns = GeneratorUpscaler(lively(blocks=2), tile=9).upscale(images)
    torch.set_num_threads(1)
    alone = GeneratorUpscaler(lively(blocks=2), tile=9).upscale(images)
    torch.testing.assert_close(in_turns, alone, rtol=0, atol=1e-6)
