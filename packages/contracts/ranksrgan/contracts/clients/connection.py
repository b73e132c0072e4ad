"""Calls to one address: a channel, a deadline for each, and patience while nobody answers."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
from torch import Tensor

from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    SharedMemoryUnavailable,
)
from ranksrgan.contracts.rpc import open_channel
from ranksrgan.contracts.wire import error_codec
from ranksrgan.contracts.wire.tensor_transport import Parcel, Transport

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Servers that are asked at once when one refuses because it stops: its name may stand for several,
# among which calls take turns.
_OTHERS = 3


class Connection:
    """Calls to one address, with a deadline each and patience while nobody answers or all is full.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one attempt may take.
        retry_for: seconds from the first failure during which UNAVAILABLE is tried again, and a
            full server after the time that it names (one that names none is not asked again). Every
            method of our services may be repeated without harm. A server that refuses because it
            stops, or loads, is no reason to wait as long as another of its name takes the call.

    Attributes:
        max_message_bytes: that the server takes in one request, and else in chunks; 0 if it takes
            no chunks.
    """

    def __init__(self, address: str, *, timeout: float, retry_for: float) -> None:
        self.address = address
        self.timeout = timeout
        self._retry_for = retry_for
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._process = 0
        self.max_message_bytes = 0
        self.tensors = Transport(address)

    def channel(self) -> grpc.Channel:
        """The channel of this process: one from before a fork must not be used after it."""
        with self._lock:
            if self._channel is None or self._process != os.getpid():
                self._channel = open_channel(self.address)
                self._process = os.getpid()
            return self._channel

    def call(self, method: Callable[..., Any], request: Any) -> Any:
        """Call a stub's method; raises the class of error that the server raised."""
        return self.attempt(lambda: method(request, timeout=self.timeout))

    def exchange(
        self,
        tensors: Sequence[Tensor | None],
        room: int,
        work: Callable[[Parcel], Result],
        *,
        over_images: bool = False,
    ) -> Result:
        """Do a call that takes tensors, and again as `attempt` does; see `Transport.send`.

        Where a segment cannot be reached by the server, bytes travel from then on.
        """

        def send() -> Result:
            return self.tensors.send(tensors, room, work, over_images=over_images)

        try:
            return self.attempt(send)
        except SharedMemoryUnavailable as refusal:
            log.info("%s; bytes travel instead", refusal)
            self.tensors.shared = False
        return self.attempt(send)

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Do what may fail with a gRPC error, again while that may pass and there is patience."""
        give_up: float | None = None
        others = 0 if self.address.startswith("unix:") else _OTHERS
        unanswered = 0.1
        while True:
            try:
                return work()
            except grpc.RpcError as failure:
                error = self.error_of(failure)
                now = time.monotonic()
                give_up = now + self._retry_for if give_up is None else give_up
                if isinstance(error, ServiceUnavailable):
                    if others and error_codec.is_answer(failure):
                        others -= 1
                        continue
                    pause, unanswered = unanswered, min(2 * unanswered, 2.0)
                elif isinstance(error, Overloaded) and error.retry_after is not None:
                    # Others were told the same time, and are not to come all at once.
                    pause = max(error.retry_after, 0.01) * random.uniform(1.0, 1.5)
                else:
                    raise error from failure
                if now + pause > give_up:
                    raise error from failure
            time.sleep(pause)

    def error_of(self, failure: grpc.RpcError) -> RankSRGANError:
        """The error that a failed call stands for, which nobody here has cancelled."""
        error = error_codec.error_from_proto(failure, self.address)
        if isinstance(error, RequestCancelled):  # it is what a server that stops does to calls
            return ServiceUnavailable(f"the service at {self.address} ended the call")
        return error

    def read(self, call: Any, what: str) -> Any:
        """`read_in_time`, with the class of error that the server raised."""
        try:
            return read_in_time(call, self, what)
        except grpc.RpcError as failure:
            raise self.error_of(failure) from failure

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = None
        self.tensors.close()


def read_in_time(call: Any, connection: Connection, what: str) -> Any:
    """The next response of a stream within the connection's timeout; None at the end.

    A deadline of the call would be one for all of its responses together.

    Args:
        call: what a stub's streaming method returned; ended if the time is over.
        connection: that it goes through.
        what: one response, in the words of a message.

    Raises:
        DeadlineExceeded: none came in time.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        call.cancel()

    timer = threading.Timer(connection.timeout, give_up)
    timer.start()
    try:
        return next(call, None)
    except grpc.RpcError as error:
        if late.is_set():
            raise DeadlineExceeded(
                f"the service at {connection.address} took more than {connection.timeout:g} s for "
                f"{what}"
            ) from error
        raise
    finally:
        timer.cancel()
