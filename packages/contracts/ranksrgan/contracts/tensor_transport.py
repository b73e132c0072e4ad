"""How tensors travel to one server: through shared memory where both sides can, else as bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ranksrgan.contracts import codec
from ranksrgan.contracts.errors import InvalidInput, LimitExceeded
from ranksrgan.contracts.shared_memory import Place, Segment, SegmentPool, aligned
from ranksrgan.contracts.v1 import image_pb2

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Bytes of a segment, which are reserved before anybody knows whether the server takes the call; a
# response in bytes is limited to as many.
_LARGEST = 2**30

# 2 GiB is the limit of protobuf.
_LARGEST_MESSAGE = 2**31 - 2**20


class Parcel(Protocol):
    """The tensors of one call, in the form in which they travel."""

    def images(self, images: Tensor | None, field: str) -> list[image_pb2.Image]:
        """A batch, image by image; empty for None.

        Raises:
            InvalidInput: it is not of shape ``(N, 3|1, H, W)``, or of a type that does not travel.
        """
        ...

    def room(
        self, shape: tuple[int, ...], dtype: torch.dtype, *, over_images: bool = False
    ) -> list[image_pb2.SharedTensor]:
        """Places where the server shall put results, once for a parcel; none if they are to come
        in its response.

        Args:
            shape: of all results together, the first side counting them.
            dtype: of the results.
            over_images: whether they may take the place of what `images` sent first, which is of
                that shape and type: a server computes all results before it puts the first.
        """
        ...

    def results(self) -> Tensor:
        """What the server has put into `room`; the segment is lent out until it is dropped."""
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

    def send(
        self, tensors: Iterable[Tensor | None], room: int, work: Callable[[Parcel], Result]
    ) -> Result:
        """Do a call once.

        Args:
            tensors: that it takes; None and what is no batch are left to ``work``.
            room: bytes of its results.
            work: makes the request of a parcel, and reads the answer.

        Raises:
            LimitExceeded: they go as bytes, and are more than protobuf allows.
        """
        sent = 0
        for tensor in tensors:
            sent += 0 if tensor is None else aligned(tensor.numel() * tensor.element_size())
        size = sent + aligned(room)
        shared = self.shared and 0 < size <= _LARGEST
        segment = self._segment(size) if shared else None
        if segment is None and sent > _LARGEST_MESSAGE:
            raise LimitExceeded(f"{sent} bytes of tensors are more than a message can hold")
        if segment is None:
            return work(_Bytes())
        parcel = _Shared(segment, self._pool)
        # Whoever fails leaves the segment to the server, which may still write its answer.
        result = work(parcel)
        parcel.close()
        return result

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
    def images(self, images: Tensor | None, field: str) -> list[image_pb2.Image]:
        return [] if images is None else [codec.image_to_proto(i) for i in _batch(images, field)]

    def room(
        self, shape: tuple[int, ...], dtype: torch.dtype, *, over_images: bool = False
    ) -> list[image_pb2.SharedTensor]:
        return []

    def results(self) -> Tensor:
        raise LookupError("there is no room in bytes")


class _Shared:
    def __init__(self, segment: Segment, pool: SegmentPool) -> None:
        self._segment = segment
        self._pool = pool
        self._lent = False
        self._taken = 0
        self._room: Place | None = None

    def images(self, images: Tensor | None, field: str) -> list[image_pb2.Image]:
        if images is None:
            return []
        place = self._place(tuple(_batch(images, field).shape), images.dtype)
        parts = [image_pb2.Image(shared=part) for part in _apart(place)]
        self._segment.tensor(place).copy_(images.detach())
        return parts

    def room(
        self, shape: tuple[int, ...], dtype: torch.dtype, *, over_images: bool = False
    ) -> list[image_pb2.SharedTensor]:
        # Memory that is in the caches already takes less time.
        if over_images:
            self._room = Place(self._segment.name, dtype, shape, 0)
        else:
            self._room = self._place(shape, dtype)
        return _apart(self._room)

    def results(self) -> Tensor:
        if self._room is None:
            raise LookupError("there is no room")
        self._lent = True
        return self._segment.tensor(self._room, last=self._give)

    def close(self) -> None:
        """The call is over."""
        if not self._lent:
            self._give()

    def _give(self) -> None:
        self._pool.give(self._segment)

    def _place(self, shape: tuple[int, ...], dtype: torch.dtype) -> Place:
        place = Place(self._segment.name, dtype, shape, self._taken)
        self._taken = aligned(place.end)
        return place


def _apart(place: Place) -> list[image_pb2.SharedTensor]:
    count, *shape = place.shape
    size = place.size // count
    return [
        codec.shared_tensor_to_proto(
            Place(place.segment, place.dtype, tuple(shape), place.offset + i * size)
        )
        for i in range(count)
    ]


def _batch(images: Tensor, field: str) -> Tensor:
    if images.ndim != 4:
        raise InvalidInput(
            f"{field} have shape (N, 3|1, H, W), not {tuple(images.shape)}", field=field
        )
    return images
