"""What a server reads from shared memory, and writes there, for one request.

Images are read where they lie, and those that lie side by side are one batch as they are
(`ranksrgan.contracts.serving.images.read_batches`): at the size of a training batch each copy costs
about as much as the rest of the call. A client that changes its own images while they are scored
spoils its own score and no more: of uint8, the only integers that travel, every value is a level,
so that a table which they lead through has a place for whatever they become; and what floating
point leads to is bounded where it is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded, SharedMemoryUnavailable
from ranksrgan.contracts.wire.shared_memory import Place, Segment, is_held, open_segment

# To map a segment anew for each call would cost more than to copy what is in it.
_KEPT_BYTES = 2**30
_KEPT_SECONDS = 30.0
_SWEEP_SECONDS = 1.0


class SegmentCache:
    """The segments that a server has mapped, for the next request of the same client.

    What the client no longer holds, because it let go of it or has ended, is unmapped within about
    a second; what was not used for half a minute as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: dict[str, Segment] = {}  # what was used last comes last
        self._used: dict[str, float] = {}
        self._sweeper: threading.Thread | None = None

    def open(self, name: str, field: str) -> Segment:
        """The segment of that name; raises as `open_segment`."""
        with self._lock:
            segment = self._segments.pop(name, None) or open_segment(name, field)
            self._segments[name] = segment
            self._used[name] = time.monotonic()
            while len(self._segments) > 1 and self.size > _KEPT_BYTES:
                self._drop(next(iter(self._segments)))
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="segments", daemon=True)
                self._sweeper.start()
        return segment

    @property
    def size(self) -> int:
        """Of all that is mapped, in bytes."""
        return sum(segment.size for segment in self._segments.values())

    def _sweep(self) -> None:
        while True:
            time.sleep(_SWEEP_SECONDS)
            with self._lock:
                too_old = time.monotonic() - _KEPT_SECONDS
                for name in list(self._segments):
                    if self._used[name] < too_old or not is_held(name):
                        self._drop(name)
                if not self._segments:
                    self._sweeper = None
                    return

    def _drop(self, name: str) -> None:
        # A request that works with it has a reference of its own.
        del self._segments[name], self._used[name]


class RequestSegments:
    """The segments that one request names.

    Args:
        cache: of the server.
        max_bytes: that may be read for the request.
    """

    def __init__(self, cache: SegmentCache, max_bytes: int) -> None:
        self._cache = cache
        self._max_bytes = max_bytes
        self._read = 0
        self._segments: dict[str, Segment] = {}

    def read(self, place: Place, field: str) -> Tensor:
        """The tensor there, as it lies.

        Raises:
            InvalidInput: no such place.
            LimitExceeded: the request names too much in all.
            SharedMemoryUnavailable: see `open_segment`.
        """
        there = self._tensor(place, field)
        self._read += place.size
        if self._read > self._max_bytes:
            raise LimitExceeded(
                f"{field}: more than {self._max_bytes} bytes in shared memory for one request",
                field=field,
            )
        return there

    def write(self, place: Place, tensor: Tensor, field: str) -> None:
        """Put a result where the request wants it.

        Raises:
            InvalidInput: no such place, or one for a tensor of another shape or type.
            SharedMemoryUnavailable: see `open_segment`.
        """
        there = self._tensor(place, field)
        if tensor.is_cuda:
            self._segment(place.segment, field).pin(tensor.device)
        if place.shape != tuple(tensor.shape) or place.dtype != tensor.dtype:
            raise InvalidInput(
                f"{field}: a place for {place.shape} of {place.dtype}; the result is "
                f"{tuple(tensor.shape)} of {tensor.dtype}",
                field=field,
            )
        there.copy_(tensor)

    def pin(self, device: torch.device) -> None:
        """A GPU is about to take what has been read so far; see `Segment.pin`."""
        for segment in self._segments.values():
            segment.pin(device)

    def _tensor(self, place: Place, field: str) -> Tensor:
        return self._segment(place.segment, field).tensor(place, field)

    def _segment(self, name: str, field: str) -> Segment:
        if name not in self._segments:
            self._segments[name] = self._cache.open(name, f"{field}.segment")
        return self._segments[name]


_current: ContextVar[RequestSegments | None] = ContextVar("request_segments", default=None)


@contextmanager
def scope(segments: RequestSegments | None) -> Iterator[None]:
    """Until the block ends, these are what `current` finds."""
    token = _current.set(segments)
    try:
        yield
    finally:
        _current.reset(token)


def current(field: str) -> RequestSegments:
    """The segments of the request that this thread works on.

    Args:
        field: that names a segment.

    Raises:
        SharedMemoryUnavailable: it came through a network, or is one of a stream.
    """
    segments = _current.get()
    if segments is None:
        raise SharedMemoryUnavailable(
            f"{field}: shared memory is for calls with one answer through a unix socket",
            field=field,
        )
    return segments


def pin(device: torch.device) -> None:
    """A GPU is about to take what the request that this thread works on has named."""
    segments = _current.get()
    if segments is not None:
        segments.pin(device)


def available() -> bool:
    """Whether the request that this thread works on may name segments."""
    return _current.get() is not None
