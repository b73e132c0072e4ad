"""The call at hand, and its way to the device.

A servicer decodes and encodes in the thread that gRPC gave it, and brings what a model has to do to
`compute` or `alone`. While that waits, the call's place among those that are worked on is that of
another, so that the next request is decoded while the device works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from torch import Tensor

from ranksrgan.contracts.errors import RequestCancelled
from ranksrgan.contracts.joining import joining_of
from ranksrgan.contracts.serving.batching import Alone, Batch, Job, Work
from ranksrgan.contracts.serving.devices import Devices
from ranksrgan.contracts.wire import request_segments

# Seconds that a request may have been on its way.
_TRANSIT = 0.1

Result = TypeVar("Result")
Request = TypeVar("Request")


def end_of(context: grpc.ServicerContext) -> str:
    """Name of the status of a call that has ended before its answer: the one that we gave it, the
    client's deadline, or its will."""
    code = context.code()  # type: ignore[attr-defined]
    if code is not None and code is not grpc.StatusCode.CANCELLED:
        return str(code.name)
    return "DEADLINE_EXCEEDED" if _is_late(context) else "CANCELLED"


def has_ended(context: grpc.ServicerContext) -> bool:
    """Whether a call whose requests have come to an end is over itself.

    gRPC tells of the end of the requests first, and of that of the call a moment later: of a client
    that leaves between two requests, owed nothing, it may not be known yet.
    """
    return not context.is_active() or _is_late(context)


def _is_late(context: grpc.ServicerContext) -> bool:
    """Whether the client's deadline has passed; it began to count before we did."""
    left = context.time_remaining()
    return left is not None and left < _TRANSIT


class CallEnd:
    """The end of a call, however it comes, as the one who is at work for it hears of it.

    Args:
        context: of the call.
    """

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.wanted: Callable[[], bool] = context.is_active
        self._lock = threading.Lock()
        self._tell: Callable[[], None] | None = None
        self._over = not context.add_callback(self._end)

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call ``tell`` if the call ends before the block does.

        Raises:
            RequestCancelled: it has ended already.
        """
        with self._lock:
            if self._over:
                raise RequestCancelled("the client has gone")
            self._tell = tell
        try:
            yield
        finally:
            with self._lock:
                self._tell = None

    def _end(self) -> None:
        with self._lock:
            self._over, tell = True, self._tell
        if tell is not None:
            tell()


@dataclass
class Turn:
    """One request in work.

    Attributes:
        devices: of the server.
        service: full name of the one that was called.
        deadline: on the monotonic clock; None: there is none.
        end: of the call that it belongs to.
        aside: gives the place of the call to another for as long as the block lasts.
        expected: whether `Devices` still expects work of it.
    """

    devices: Devices
    service: str
    deadline: float | None
    end: CallEnd
    aside: Callable[[], AbstractContextManager[None]]
    expected: bool = True

    def do(self, work: Work) -> Any:
        """Let the device do it, and wait for the result; raises what the work raises."""
        worker = self.devices.worker(work.joining.device)
        job = Job(work, self.deadline, self.end.wanted, time.monotonic())
        with self.end.telling(lambda: worker.give_up(job)):
            worker.submit(job)
            self.arrive()
            with self.aside():
                return job.result.result()

    def arrive(self) -> None:
        """The work of this call is in the queue, or there will be none."""
        if self.expected:
            self.expected = False
            self.devices.expect(-1)


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


@contextmanager
def taking(turn: Turn) -> Iterator[None]:
    """Until the block ends, work goes to the devices of this call's server."""
    token = _turn.set(turn)
    try:
        yield
    finally:
        _turn.reset(token)


def waited_for(requests: Iterator[Request]) -> Iterator[Request]:
    """The same requests; while one is waited for, the call has no place and is no reason to wait
    for work of it."""
    while True:
        turn = _turn.get()
        if turn is None:
            request = next(requests, None)
        else:
            turn.arrive()
            with turn.aside():
                request = next(requests, None)
        if request is None:
            return
        yield request


def compute(
    model: object,
    name: str,
    operation: str,
    work: Callable[..., tuple[Tensor, ...]],
    *inputs: Tensor | None,
    moved: bool = False,
) -> tuple[Tensor, ...]:
    """Do a batch on its model's device, joined with those of other calls if the model allows it.

    Outside of a server it is done at once, in the caller's thread.

    Args:
        model: says what it `is to be joined like <ranksrgan.contracts.joining.Joining>`.
        name: of the model, as the client has it.
        operation: what is done with it; batches of one model and operation are done alike.
        work: from ``inputs`` to tensors ``(N, ...)``.
        inputs: tensors ``(N, ...)`` of N images; None is left out.
        moved: whether they are moved to a GPU whole, if that is the model's device, before the work
            begins: images that are scored there are checked there too, and come there once.

    Returns:
        What ``work`` returns.

    Raises:
        DeadlineExceeded: that of the call has passed, or would before the work is done.
        RequestCancelled: the client has gone.
    """
    given = tuple(tensor for tensor in inputs if tensor is not None)
    turn = _turn.get()
    if turn is None:
        return work(*given)
    joining = joining_of(model)
    device = joining.device if moved and joining.device.type == "cuda" else None
    if device is not None:
        request_segments.pin(device)
    batch = Batch(turn.service, name, operation, joining, work, given, model, device)
    found: tuple[Tensor, ...] = turn.do(batch)
    return found


def alone(
    model: object,
    name: str,
    operation: str,
    work: Callable[[], Result],
    *,
    images: int,
    pixels: int,
) -> Result:
    """Do something else on a model's device: one strip, or features. Args, Raises: as `compute`.

    Args:
        images: how many the work concerns.
        pixels: how many, of all those images.
    """
    turn = _turn.get()
    if turn is None:
        return work()
    task = Alone(turn.service, name, operation, joining_of(model), work, images, pixels)
    found: Result = turn.do(task)
    return found
