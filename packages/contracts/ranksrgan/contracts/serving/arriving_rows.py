"""The rows of an image as a client sends them: read when they are wanted, and forgotten then."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ranksrgan.contracts.errors import InternalError, InvalidInput
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.row_image import RowImage, rows_from_bytes
from ranksrgan.contracts.v1 import super_resolution_pb2

Request = super_resolution_pb2.UpscaleStreamRequest


class ArrivingRows:
    """Rows that have come and were not read, and those to come.

    The client's requests are read in `receive`, by the thread that answers its call; what reads the
    rows, a device's thread, never waits for a client. No more is held than was asked for and the
    rest of one request.

    Args:
        image: that comes.
        requests: its chunks.
    """

    def __init__(self, image: RowImage, requests: Iterator[Request]) -> None:
        self._image = image
        self._requests = requests
        self._held = bytearray()
        self._read = self._received = 0  # rows; bytes

    def receive(self, rows: int) -> None:
        """Wait until so many rows from the top have come; for all of them, also for the end.

        Raises:
            InvalidInput: something else than chunks came, or more or fewer bytes than the image
                has.
        """
        size = self._image.size
        while self._received < rows * self._image.row_bytes:
            chunk = self._next()
            if chunk is None:
                raise InvalidInput(
                    f"chunk: {self._received} of the {size} bytes of the order came", field="chunk"
                )
            if self._received + len(chunk) > size:
                raise InvalidInput(
                    f"chunk: more than the {size} bytes of the order came", field="chunk"
                )
            self._held += chunk
            self._received += len(chunk)
        if rows == self._image.height and self._next() is not None:
            raise InvalidInput(
                f"chunk: more than the {size} bytes of the order came", field="chunk"
            )

    def read(self, top: int, bottom: int) -> Tensor:
        """The next rows as ``(1, 3, bottom - top, width)`` float32 in [0, 1]; grey is repeated.

        Raises:
            InternalError: they are not the next ones, or were not waited for.
        """
        size = (bottom - top) * self._image.row_bytes
        if top != self._read or bottom <= top or size > len(self._held):
            raise InternalError(f"rows {top} to {bottom} are not there to be read")
        rows = as_float(rows_from_bytes(self._held[:size], self._image))
        del self._held[:size]
        self._read = bottom
        return rows

    def _next(self) -> bytes | None:
        request = next(self._requests, None)
        if request is None:
            return None
        if not request.HasField("chunk"):
            raise InvalidInput("chunk: a stream has one order, then chunks", field="chunk")
        check_chunk(request.chunk)
        chunk: bytes = request.chunk
        return chunk


def check_chunk(chunk: bytes) -> None:
    """Refuse a chunk that brings nothing: it would be work, and progress, without an end.

    Raises:
        InvalidInput: it is empty.
    """
    if not chunk:
        raise InvalidInput("chunk: is empty, where 1 byte or more are to come", field="chunk")
