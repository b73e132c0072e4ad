"""How tensors travel to one server: through shared memory where both sides can, else as bytes."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded
from ranksrgan.contracts.image_tensor import require_tensor
from ranksrgan.contracts.v1 import image_pb2
from ranksrgan.contracts.wire import codec
from ranksrgan.contracts.wire.shared_memory import (
    Place,
    Segment,
    SegmentPool,
    aligned,
    lend,
    place_of,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Bytes of a segment, which are reserved before anybody knows whether the server takes the call; a
# response in bytes is limited to as many.
_LARGEST = 2**30

# 2 GiB is the limit of protobuf.
_LARGEST_MESSAGE = 2**31 - 2**20


class Parcel(Protocol):
    """The tensors of one call, in the form in which they travel."""

    def images(self, images: Tensor | None, field: str) -> Sequence[image_pb2.Image]:
        """A batch, image by image; empty for None.

        Raises:
            InvalidInput: it is not of shape ``(N, 3|1, H, W)``, or of a type that does not travel.
        """
        ...

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Sequence[image_pb2.SharedTensor]:
        """Places where the server shall put results, once for a parcel; none if they are to come
        in its response.

        Args:
            shape: of all results together, the first side counting them.
            dtype: of the results.
        """
        ...

    def results(self, device: torch.device) -> Tensor:
        """What the server has put into `room`, on that device.

        On the CPU it is the room itself, and the segment is lent out until it is dropped.
        """
        ...


class Transport:
    """Chooses, and keeps the segments of one connection.

    Args:
        address: of the server.

    Attributes:
        shared: whether shared memory is tried. A server that offers it sets it; a segment that
            cannot be made or reached ends it.
    """

    def __init__(self, address: str) -> None:
        self.shared = False
        self._unix = address.startswith("unix:")
        self._pool = SegmentPool()

    def offered(self, shared: bool) -> None:
        """Take up or leave what a server says of itself."""
        self.shared = shared and self._unix

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor to fill, on the CPU, that calls need not copy; any other where that cannot be.

        Its segment is lent out until it is dropped.
        """
        size = math.prod(shape) * dtype.itemsize
        segment = self._segment(size) if self.shared and 0 < size <= _LARGEST else None
        if segment is None:
            return torch.empty(shape, dtype=dtype)
        return lend(segment, Place(segment.name, dtype, shape, 0), self._pool.give)

    def send(
        self,
        tensors: Iterable[Tensor | None],
        room: int,
        work: Callable[[Parcel], Result],
        *,
        over_images: bool = False,
    ) -> Result:
        """Do a call once.

        Args:
            tensors: that it takes; None and what is no batch are left to ``work``.
            room: bytes of its results.
            work: makes the request of a parcel, and reads the answer.
            over_images: whether results may take the place of the copy of the first tensor, which
                is of their shape and type: a server computes all of them before it puts the first.

        Raises:
            LimitExceeded: they go as bytes, and are more than protobuf allows.
        """
        given = [tensor for tensor in tensors if tensor is not None]
        copied = [tensor for tensor in given if place_of(tensor) is None]
        over_images = over_images and bool(copied) and copied[0] is given[0]
        size = sum(map(_aligned_bytes, copied)) + (0 if over_images else aligned(room))
        shared = self.shared and size <= _LARGEST and bool(given)
        segment = self._segment(size) if shared and size else None
        if segment is not None or (shared and not copied and not size):
            parcel = _Shared(segment, self._pool, over_images=over_images)
            # Whoever fails leaves the segment to the server, which may still write its answer.
            result = work(parcel)
            parcel.close()
            return result
        sent = sum(map(_aligned_bytes, given))
        if sent > _LARGEST_MESSAGE:
            raise LimitExceeded(f"{sent} bytes of tensors are more than a message can hold")
        return work(_Bytes())

    def close(self) -> None:
        self._pool.close()

    def _segment(self, size: int) -> Segment | None:
        try:
            return self._pool.take(size)
        except OSError as error:
            log.info("no shared memory of %d bytes, bytes travel instead: %s", size, error)
            self.shared = False
            return None


class _Bytes:
    def images(self, images: Tensor | None, field: str) -> Sequence[image_pb2.Image]:
        return [] if images is None else [codec.image_to_proto(i) for i in _batch(images, field)]

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Sequence[image_pb2.SharedTensor]:
        return []

    def results(self, device: torch.device) -> Tensor:
        raise LookupError("there is no room in bytes")


class _Shared:
    """Tensors in one segment, None if none needs it, and those that lie in others already."""

    def __init__(self, segment: Segment | None, pool: SegmentPool, *, over_images: bool) -> None:
        self._segment = segment
        self._pool = pool
        self._over_images = over_images
        self._lent = False
        self._taken = 0
        self._room: Place | None = None

    def images(self, images: Tensor | None, field: str) -> Sequence[image_pb2.Image]:
        if images is None:
            return []
        batch = _batch(images, field)
        place = place_of(batch)
        if place is None:
            place = self._place(tuple(batch.shape), batch.dtype)
            parts = _images(place)
            segment = self._held()
            if batch.is_cuda:
                segment.pin(batch.device)
            segment.tensor(place).copy_(batch.detach())
            return parts
        return _images(place)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Sequence[image_pb2.SharedTensor]:
        # Memory that is in the caches already takes less time.
        if self._over_images:
            self._room = Place(self._held().name, dtype, shape, 0)
        else:
            self._room = self._place(shape, dtype)
        return _shared_tensors(self._room)

    def results(self, device: torch.device) -> Tensor:
        if self._room is None:
            raise LookupError("there is no room")
        segment = self._held()
        if device.type == "cpu":
            self._lent = True
            return lend(segment, self._room, self._pool.give)
        if device.type == "cuda":
            segment.pin(device)
        return segment.tensor(self._room).to(device)

    def close(self) -> None:
        """The call is over."""
        if self._segment is not None and not self._lent:
            self._pool.give(self._segment)

    def _place(self, shape: tuple[int, ...], dtype: torch.dtype) -> Place:
        place = Place(self._held().name, dtype, shape, self._taken)
        self._taken = aligned(place.end)
        return place

    def _held(self) -> Segment:
        if self._segment is None:
            raise LookupError("there is no segment")
        return self._segment


# A client that sends one batch after the other puts them where the last one was.
@functools.lru_cache(maxsize=64)
def _shared_tensors(place: Place) -> tuple[image_pb2.SharedTensor, ...]:
    return tuple(map(codec.shared_tensor_to_proto, place.apart()))


@functools.lru_cache(maxsize=64)
def _images(place: Place) -> tuple[image_pb2.Image, ...]:
    return tuple(image_pb2.Image(shared=part) for part in _shared_tensors(place))


def _aligned_bytes(tensor: Tensor) -> int:
    return aligned(tensor.numel() * tensor.element_size())


def _batch(images: Tensor, field: str) -> Tensor:
    require_tensor(images, field)
    if images.ndim != 4:
        raise InvalidInput(
            f"{field} have shape (N, 3|1, H, W), not {tuple(images.shape)}", field=field
        )
    return images
