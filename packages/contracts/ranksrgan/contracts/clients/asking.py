"""A service asked in the midst of recorded work; the GPU goes on with what needs no answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts.recording import in_between, take_stream

Answer = tuple[Tensor, Tensor]


class Asking:
    """One place of a recording where a service is asked for scores and their gradients.

    Args:
        gradient: asks; see `DifferentiableScorer.gradient`. It is called in another thread, in the
            context of that which repeats the recording.
        images: that are asked about, in the memory of the recording.
    """

    def __init__(self, gradient: Callable[[Tensor], Answer], images: Tensor) -> None:
        self._gradient = gradient
        self._images = images.detach()
        self.scores = images.new_zeros(len(images), dtype=torch.float64)
        self.gradients = images.new_empty(images.shape)
        self._places = (self.scores.detach(), self.gradients.detach())
        # What is copied to and fro must not wait for what the GPU does meanwhile.
        self._stream = take_stream(self, images.device)
        self._answer: Future[Answer] | None = None
        in_between(self._ask)

    def wait(self) -> None:
        """From here on the scores are there; raises what the call raises."""
        in_between(self._take)

    def _ask(self) -> None:
        made = torch.cuda.Event()  # type: ignore[no-untyped-call]
        usual = torch.cuda.current_stream(self._images.device)
        made.record(usual)
        answer: Future[Answer] = Future()

        def ask() -> None:
            stream = usual if self._stream is None else self._stream
            try:
                with torch.cuda.stream(stream):
                    stream.wait_event(made)
                    answer.set_result(self._gradient(self._images))
            except BaseException as error:
                answer.set_exception(error)

        # Nobody who ends the process waits for it.
        threading.Thread(target=copy_context().run, args=(ask,), name="asking", daemon=True).start()
        self._answer = answer

    def _take(self) -> None:
        if self._answer is None:
            raise RuntimeError("nothing was asked")
        for place, found in zip(self._places, self._answer.result(), strict=True):
            place.copy_(found)


class Asked(torch.autograd.Function):
    """The scores of what was asked, with their gradient to the images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, asking: Asking) -> Tensor:
        asking.wait()
        ctx.asking = asking  # what it holds is to be overwritten, which autograd would refuse
        return asking.scores

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        return carried_back(outputs[0], ctx.asking.gradients), None


def carried_back(of_scores: Tensor, gradients: Tensor) -> Tensor:
    """The gradient to the images: that to each score times the score's to its own image."""
    return of_scores.to(gradients.dtype).reshape(-1, 1, 1, 1) * gradients
