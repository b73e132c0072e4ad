"""``UpscaleStream``: an image of any size comes in chunks, and its enlargement goes in chunks.

A *file* is kept on the disk until it is whole. The picture in it is decoded as one, which takes the
memory of its pixels; the result is nowhere whole: strips of it go through the network and the
encoder while the client takes the chunks before, and wait when it does not.

*Rows of pixels* are nowhere whole either. Each strip of the result waits for the rows that the
network has to see for it, those of its reach below the strip included, and no others: the server
reads on when the client has taken what was made before. Its memory is that of a few strips.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO, Protocol, cast

from PIL import Image as PillowImage
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput
from ranksrgan.contracts.image_files.costs import check_costs
from ranksrgan.contracts.image_files.encoders import Layout, check_format, open_writer
from ranksrgan.contracts.images import FORMATS, Picture, allow_pixels, decode_image
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.serving.arriving_rows import ArrivingRows, check_chunk
from ranksrgan.contracts.serving.same_model import require_same
from ranksrgan.contracts.serving.spool import Spool, SpooledFile
from ranksrgan.contracts.serving.stream_result import (
    open_output,
    send,
    written_pictures,
    written_rows,
)
from ranksrgan.contracts.serving.turn import alone
from ranksrgan.contracts.serving.upscale_order import (
    StreamLimits,
    check_held,
    check_order,
    result_dtype_of,
    row_image_of,
)
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.contracts.v1 import super_resolution_pb2

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


class EnlargingRows(Enlarging, Protocol):
    """An image on its way through an upscaler that comes in rows.

    Attributes:
        needs: for each strip in turn, the rows of the image, from the top, that have been read when
            it is made; rising, and all of them at last.
    """

    needs: Sequence[int]

    def bands(self, strips: Iterator[Tensor]) -> Iterator[Tensor]:
        """The result as float32 in [0, 1], ``(channels, n, W)`` from the top down."""
        ...


#: A picture, what enlarges it, the result's suffix, and its scale if that is not the upscaler's;
#: raises InvalidInput where the format cannot hold the result.
Enlarge = Callable[[Picture, Upscaler, str, Fraction | None], Enlarging]


#: What an image that comes in rows will be, what reads its rows (each once, in order, as the
#: strips' needs say), what enlarges it, and its scale if that is not the upscaler's; raises
#: ImageTooLarge where the upscaler has to see the image as a whole and cannot.
EnlargeRows = Callable[
    [RowImage, Callable[[int, int], Tensor], Upscaler, Fraction | None], EnlargingRows
]


class UpscaleStreams:
    """Answers streams.

    Args:
        enlarge: begins an enlargement of a file's picture.
        enlarge_rows: begins one of rows.
        limits: of what comes.
        spool: keeps what is on its way; None for a new one of usual size.

    Raises:
        InvalidInput: the folder for what is on its way cannot be written to.
    """

    def __init__(
        self,
        enlarge: Enlarge,
        enlarge_rows: EnlargeRows,
        limits: StreamLimits | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._enlarge = enlarge
        self._enlarge_rows = enlarge_rows
        self._limits = limits or StreamLimits()
        self._spool = spool or Spool()

    @property
    def spooled(self) -> int:
        """Bytes on the disk."""
        return self._spool.used

    def answer(
        self, requests: Iterator[Request], open_upscaler: Callable[[str], Upscaler]
    ) -> Iterator[Response]:
        """The responses to one stream of requests.

        Args:
            requests: an order and its image.
            open_upscaler: the model of a name; raises UnknownName.

        Raises:
            ModelReplaced: the order is for another model of that name.
            InvalidInput: an order that cannot be, an image of another size, values that are no
                pixels, or a format that cannot hold the result.
            InvalidImage: the file is not an image.
            LimitExceeded: the image is too large, or there is no room for it.
        """
        first = next(requests, None)
        if first is None or not first.HasField("order"):
            raise InvalidInput("order: a stream begins with one", field="order")
        order = first.order
        check_order(order, self._limits)
        upscaler = open_upscaler(order.model)
        require_same(upscaler.info, order.parameters_hash, "order.model")
        answer = self._answer_rows if order.HasField("rows") else self._answer_file
        yield from answer(order, requests, upscaler)

    def _answer_file(
        self, order: Request.Order, requests: Iterator[Request], upscaler: Upscaler
    ) -> Iterator[Response]:
        with self._spool.file() as file:
            yield from self._receive(order, requests, file)
            data = file.content()
            check_costs(data, "the file")
            size = self._check_size(io.BytesIO(data))
            if size is not None:  # else decoding says what is wrong
                width, height = size
                yield Response(started=Response.Started(width=width, height=height))
            picture = decode_image(data, name="the file", max_pixels=self._limits.max_pixels)
            del data
        enlarging = self._enlarge(picture, upscaler, order.suffix, _out_scale(order))
        pixels = picture.width * picture.height
        del picture
        strips = _on_device(upscaler, order.model, enlarging.strips(), pixels)
        yield from self._send_file(enlarging, strips, order)

    def _answer_rows(
        self, order: Request.Order, requests: Iterator[Request], upscaler: Upscaler
    ) -> Iterator[Response]:
        dtype = result_dtype_of(order)
        image = row_image_of(order, self._limits)
        rows = ArrivingRows(image, requests)
        enlarging = self._enlarge_rows(image, rows.read, upscaler, _out_scale(order))
        check_held(image, enlarging.needs[0], self._limits)
        if dtype is None:
            check_format(enlarging.layout, order.suffix)
        yield Response(started=Response.Started(width=image.width, height=image.height))
        strips = _as_rows_come(upscaler, order.model, enlarging, rows, image.width)
        if dtype is None:
            yield from self._send_file(enlarging, strips, order)
            return
        with open_output("", self._spool) as output:
            written = written_rows(enlarging.bands(strips), output, dtype)
            yield from send(written, output, enlarging.layout)

    def _send_file(
        self, enlarging: Enlarging, strips: Iterator[Tensor], order: Request.Order
    ) -> Iterator[Response]:
        layout = enlarging.layout
        with open_output(order.suffix, self._spool) as output:
            writer = open_writer(
                cast(BinaryIO, output), layout, suffix=order.suffix, quality=order.quality or 95
            )
            yield from send(written_pictures(enlarging.pictures(strips), writer), output, layout)

    def _receive(
        self, order: Request.Order, requests: Iterator[Request], file: SpooledFile
    ) -> Iterator[Response]:
        head, looked_at = b"", 0
        for request in requests:
            if not request.HasField("chunk"):
                raise InvalidInput("chunk: a stream has one order, then chunks", field="chunk")
            check_chunk(request.chunk)
            if file.size + len(request.chunk) > order.size:
                raise InvalidInput(
                    f"chunk: more than the {order.size} bytes of the order came", field="chunk"
                )
            file.write(request.chunk)
            if len(head) < _HEAD:
                # What is far too large need not be sent to its end.
                head += request.chunk[:_HEAD]
                if len(head) >= 2 * looked_at:  # not again for each of many small chunks
                    looked_at = len(head)
                    check_costs(head, "the file")
                    self._check_size(io.BytesIO(head))
            yield Response(received=file.size)
        if file.size != order.size:
            raise InvalidInput(
                f"chunk: {file.size} of the {order.size} bytes of the order came", field="chunk"
            )

    def _check_size(self, file: BinaryIO) -> tuple[int, int] | None:
        """Width and height by the header, if it is there and says so."""
        allow_pixels(self._limits.max_pixels)
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


def _out_scale(order: Request.Order) -> Fraction | None:
    hundredths = order.out_scale_hundredths
    return Fraction(hundredths, 100) if hundredths else None


def _on_device(
    upscaler: Upscaler, name: str, strips: Iterator[Tensor], pixels: int
) -> Iterator[Tensor]:
    """Each strip when the device has time for it. What is not asked for is not made."""

    def work() -> Tensor | None:
        return next(strips, None)

    # A loop, since a strip that is still being made when its client goes cannot be closed.
    while (strip := alone(upscaler, name, "strip", work, images=1, pixels=pixels)) is not None:
        yield strip
        del strip  # before the next is made: strips are large


def _as_rows_come(
    upscaler: Upscaler, name: str, enlarging: EnlargingRows, rows: ArrivingRows, width: int
) -> Iterator[Tensor]:
    """Each strip when its rows are there and the device has time for it."""
    strips = enlarging.strips()
    above = 0
    for needed in enlarging.needs:
        rows.receive(needed)
        pixels = max(needed - above, 1) * width
        above = needed
        yield alone(upscaler, name, "rows", lambda: next(strips), images=1, pixels=pixels)
