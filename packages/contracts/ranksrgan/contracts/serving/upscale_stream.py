"""``UpscaleStream``: an image file of any size comes in chunks, and its enlargement goes in chunks.

What comes is kept on the disk until it is whole. The picture in it is decoded as one, which takes
the memory of its pixels; the result is nowhere whole: strips of it go through the network and the
encoder while the client takes the chunks before, and wait when it does not. A TIFF begins with the
place of what is written last, so it is spooled.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from PIL import Image as PillowImage
from torch import Tensor

from ranksrgan.contracts.encoders import Layout, open_writer
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput, LimitExceeded
from ranksrgan.contracts.images import FORMATS, Picture, decode_image
from ranksrgan.contracts.serving.spool import Spool, SpooledFile
from ranksrgan.contracts.serving.turn import alone
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.contracts.v1 import super_resolution_pb2

#: What a stream gives: formats whose encoders take strips and hold none.
STREAMED = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

_SPOOLED = frozenset({".tif", ".tiff"})

# Bytes of a chunk of the result.
_CHUNK = 2**20
# Share of the result after which a client that gets no chunk hears of it.
_STEP = 0.01
# As the command line allows.
_LARGEST_SCALE = 32
# Bytes of a file in which its size stands if it stands at the beginning.
_HEAD = 2**16

Request = super_resolution_pb2.UpscaleStreamRequest
Response = super_resolution_pb2.UpscaleStreamResponse


class Enlarging(Protocol):
    """A picture on its way through an upscaler."""

    layout: Layout

    def strips(self) -> Iterator[Tensor]:
        """The network's part: strips of colour."""
        ...

    def pictures(self, strips: Iterator[Tensor]) -> Iterator[Picture]:
        """What is stored: strips of the result."""
        ...


#: A picture, what enlarges it, the result's suffix, and its scale if that is not the upscaler's;
#: raises InvalidInput where the format cannot hold the result.
Enlarge = Callable[[Picture, Upscaler, str, Fraction | None], Enlarging]


@dataclass(frozen=True)
class StreamLimits:
    """What streams may bring.

    Attributes:
        max_pixels: of one image, which is decoded as a whole; by its header.
        max_bytes: of one file.
        spool: folder for what is on its way; None is the system's for temporary files.
        spool_bytes: of all that is there at a time.
    """

    max_pixels: int = 2**26
    max_bytes: int = 2**30
    spool: Path | None = None
    spool_bytes: int = 2**33


class UpscaleStreams:
    """Answers streams.

    Args:
        enlarge: begins an enlargement.
        limits: of what comes.

    Raises:
        InvalidInput: the folder for what is on its way cannot be written to.
    """

    def __init__(self, enlarge: Enlarge, limits: StreamLimits | None = None) -> None:
        self._enlarge = enlarge
        self._limits = limits or StreamLimits()
        self._spool = Spool(self._limits.spool, self._limits.spool_bytes)

    @property
    def spooled(self) -> int:
        """Bytes on the disk."""
        return self._spool.used

    def answer(
        self, requests: Iterator[Request], open_upscaler: Callable[[str], Upscaler]
    ) -> Iterator[Response]:
        """The responses to one stream of requests.

        Args:
            requests: an order and its file.
            open_upscaler: the model of a name; raises UnknownName.

        Raises:
            InvalidInput: an order that cannot be, a file of another size, or a format that cannot
                hold the result.
            InvalidImage: the file is not an image.
            LimitExceeded: the file or the image in it is too large, or there is no room for it.
        """
        order = self._order(requests)
        upscaler = open_upscaler(order.model)
        with self._spool.file() as file:
            yield from self._receive(order, requests, file)
            width, height = self._check_size(cast(BinaryIO, file)) or (0, 0)
            yield Response(started=Response.Started(width=width, height=height))
            picture = decode_image(
                file.content(), name="the file", max_pixels=self._limits.max_pixels
            )
        scale = order.out_scale_hundredths
        enlarging = self._enlarge(
            picture, upscaler, order.suffix, Fraction(scale, 100) if scale else None
        )
        pixels = picture.width * picture.height
        del picture
        strips = _on_device(upscaler, order.model, enlarging.strips(), pixels)
        yield from self._send(enlarging, strips, order)

    def _order(self, requests: Iterator[Request]) -> Request.Order:
        first = next(requests, None)
        if first is None or not first.HasField("order"):
            raise InvalidInput("order: a stream begins with one", field="order")
        order = first.order
        if order.suffix not in STREAMED:
            raise InvalidInput(
                f"order.suffix: {order.suffix[:20]!r} is none of {', '.join(sorted(STREAMED))}",
                field="order.suffix",
            )
        if not 0 <= order.quality <= 100:
            raise InvalidInput(
                f"order.quality: {order.quality} is not within 1 and 100", field="order.quality"
            )
        if not 0 <= order.out_scale_hundredths <= 100 * _LARGEST_SCALE:
            raise InvalidInput(
                f"order.out_scale_hundredths: {order.out_scale_hundredths} is not within 1 and "
                f"{100 * _LARGEST_SCALE}",
                field="order.out_scale_hundredths",
            )
        if order.size < 1:
            raise InvalidInput(
                f"order.size: {order.size}; a file has 1 byte or more", field="order.size"
            )
        if order.size > self._limits.max_bytes:
            raise LimitExceeded(
                f"order.size: {order.size} bytes; at most {self._limits.max_bytes} are taken",
                field="order.size",
            )
        return order

    def _receive(
        self, order: Request.Order, requests: Iterator[Request], file: SpooledFile
    ) -> Iterator[Response]:
        head = b""
        for request in requests:
            if not request.HasField("chunk"):
                raise InvalidInput("chunk: a stream has one order, then chunks", field="chunk")
            if file.size + len(request.chunk) > order.size:
                raise InvalidInput(
                    f"chunk: more than the {order.size} bytes of the order came", field="chunk"
                )
            file.write(request.chunk)
            if len(head) < _HEAD:
                # What is far too large need not be sent to its end.
                head += request.chunk[:_HEAD]
                self._check_size(io.BytesIO(head))
            yield Response(received=file.size)
        if file.size != order.size:
            raise InvalidInput(
                f"chunk: {file.size} of the {order.size} bytes of the order came", field="chunk"
            )

    def _check_size(self, file: BinaryIO) -> tuple[int, int] | None:
        """Width and height by the header, if it is there and says so."""
        try:
            with PillowImage.open(file, formats=FORMATS) as image:
                width, height = image.size
        except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning):
            width = height = 2**31
        except (OSError, SyntaxError, ValueError, EOFError):
            return None
        if width * height > self._limits.max_pixels:
            raise ImageTooLarge(
                f"the file holds more pixels than the {self._limits.max_pixels} that are read",
                field="chunk",
            )
        return width, height

    def _send(
        self, enlarging: Enlarging, strips: Iterator[Tensor], order: Request.Order
    ) -> Iterator[Response]:
        layout = enlarging.layout
        digest, size = hashlib.sha256(), 0
        done = told = 0.0
        with self._output(order.suffix) as output:
            writer = open_writer(
                cast(BinaryIO, output), layout, suffix=order.suffix, quality=order.quality or 95
            )

            def chunks(pieces: Iterator[bytes]) -> Iterator[Response]:
                nonlocal size
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    yield Response(chunk=piece)

            for strip in enlarging.pictures(strips):
                writer.write(strip)
                yield from chunks(output.ready())
                done += strip.height / layout.height
                if done - told >= _STEP:
                    told = done
                    yield Response(progress=min(done, 1.0))
            writer.close()
            yield from chunks(output.rest())
        finished = Response.Finished(
            size=size, width=layout.width, height=layout.height, sha256=digest.hexdigest()
        )
        yield Response(finished=finished)

    @contextmanager
    def _output(self, suffix: str) -> Iterator[_Output]:
        if suffix not in _SPOOLED:
            yield _Pipe()
            return
        with self._spool.file() as file:
            yield _Kept(file)


class _Output(Protocol):
    """What an encoder writes to."""

    def write(self, data: bytes) -> int: ...

    def ready(self) -> Iterator[bytes]:
        """Chunks that nothing is written over any more."""
        ...

    def rest(self) -> Iterator[bytes]:
        """All other chunks, when the encoder is done."""
        ...


class _Pipe:
    """For encoders that never go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._size += len(data)
        return len(data)

    def ready(self) -> Iterator[bytes]:
        if self._size < _CHUNK:
            return
        joined = b"".join(self._parts)
        full = self._size - self._size % _CHUNK
        self._parts, self._size = [joined[full:]], self._size - full
        for at in range(0, full, _CHUNK):
            yield joined[at : at + _CHUNK]

    def rest(self) -> Iterator[bytes]:
        yield from self.ready()
        if self._size:
            yield b"".join(self._parts)


class _Kept:
    """For encoders that go back to the beginning."""

    def __init__(self, file: SpooledFile) -> None:
        self._file = file
        self.write, self.seek, self.tell = file.write, file.seek, file.tell

    def ready(self) -> Iterator[bytes]:
        return iter(())

    def rest(self) -> Iterator[bytes]:
        return self._file.pieces(_CHUNK)


def _on_device(
    upscaler: Upscaler, name: str, strips: Iterator[Tensor], pixels: int
) -> Iterator[Tensor]:
    """Each strip when the device has time for it. What is not asked for is not made."""

    def work() -> Tensor | None:
        return next(strips, None)

    # A loop, since a strip that is still being made when its client goes cannot be closed.
    while (strip := alone(upscaler, name, "strip", work, images=1, pixels=pixels)) is not None:
        yield strip
