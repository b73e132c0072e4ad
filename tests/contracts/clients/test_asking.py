"""A service asked in the midst of recorded work: in halves, each time that it is repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.clients import asking
from ranksrgan.contracts.clients.asking import Asked, Asking
from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.recording import WARM_UP, Recording

PATIENCE = 30.0

current: ContextVar[str] = ContextVar("current", default="another")


class NoStream:
    """As the CPU has it: what is done has been done."""

    def wait_event(self, event: object) -> None:
        pass


class NoEvent:
    def record(self, stream: object) -> None:
        pass


@pytest.fixture
def gaps(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What a recording would do in between, without a GPU."""
    left: list[Callable[[], None]] = []
    monkeypatch.setattr(asking, "in_between", left.append)
    monkeypatch.setattr(asking, "take_stream", lambda owner, device: NoStream())
    monkeypatch.setattr(torch.cuda, "Event", NoEvent)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: NoStream())
    return left


def squares(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.double().square().sum((1, 2, 3)), 2 * images


def test_each_repetition_asks_about_the_images_of_its_own(gaps: list[Callable[[], None]]) -> None:
    images = torch.zeros(2, 3, 4, 5, requires_grad=True)
    made = images + 0  # as a generator makes them: they require a gradient, and lie where they lie
    begun = Asking(squares, made)
    assert len(gaps) == 1
    scores = Asked.apply(made, begun)
    ask, take = gaps
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            made.fill_(value)
            ask()
            take()
        assert scores.tolist() == [60 * value**2] * 2
        assert torch.equal(begun.gradients, torch.full((2, 3, 4, 5), 2 * value))
    # What was recorded once reads what is there: the gradient of the last answer.
    (gradient,) = torch.autograd.grad((scores * torch.tensor([1.0, 10.0])).sum(), images)
    assert torch.equal(gradient[0], torch.full((3, 4, 5), 6.0))
    assert torch.equal(gradient[1], torch.full((3, 4, 5), 60.0))


def test_who_repeats_goes_on_until_the_answer_is_wanted(gaps: list[Callable[[], None]]) -> None:
    asked, answer = threading.Event(), threading.Event()
    contexts: list[str] = []

    def slow(images: Tensor) -> tuple[Tensor, Tensor]:
        contexts.append(current.get())
        asked.set()
        assert answer.wait(PATIENCE)
        return squares(images)

    begun = Asking(slow, torch.ones(1, 3, 2, 2))
    begun.wait()
    ask, take = gaps
    current.set("this")
    ask()
    assert asked.wait(PATIENCE)
    assert begun.scores.shape == (1,)
    answer.set()
    take()
    assert begun.scores.item() == 12
    assert contexts == ["this"]


def test_a_call_that_fails_is_told_where_its_answer_is_wanted(
    gaps: list[Callable[[], None]],
) -> None:
    gone = [True]

    def sometimes(images: Tensor) -> tuple[Tensor, Tensor]:
        if gone[0]:
            raise ServiceUnavailable("nobody is there")
        return squares(images)

    begun = Asking(sometimes, torch.ones(1, 3, 2, 2))
    begun.wait()
    ask, take = gaps
    ask()
    with pytest.raises(ServiceUnavailable, match="nobody"):
        take()
    gone[0] = False
    ask()
    ask()  # the step before was given up between the two
    take()
    assert begun.scores.item() == 12


@pytest.mark.cuda
def test_it_is_asked_while_the_gpu_goes_on() -> None:
    def work(x: Tensor) -> Tensor:
        made = (x * 2).requires_grad_()
        begun = Asking(squares, made)
        meanwhile = made.detach().sum()
        scores = Asked.apply(made, begun)
        (gradient,) = torch.autograd.grad(scores.sum(), made)
        return torch.stack([meanwhile.double(), scores.sum(), gradient.double().sum()])

    def plain(x: Tensor) -> list[float]:
        scores, gradients = squares(2 * x)
        return [float((2 * x).sum()), float(scores.sum()), float(gradients.sum())]

    # In the warm-up nothing is recorded: what is asked for is waited for at once.
    recorded = Recording(work, torch.device("cuda"))
    for value in range(WARM_UP + 4):
        x = torch.full((2, 3, 8, 8), float(value), device="cuda")
        assert recorded(x).tolist() == plain(x)
