"""What a client of ``UpscaleStream`` may order: checked before anything of it is allocated."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput, LimitExceeded
from ranksrgan.contracts.row_image import RESULT_DTYPES, RowImage
from ranksrgan.contracts.v1 import super_resolution_pb2
from ranksrgan.contracts.wire import codec

#: Beyond it Pillow takes every header for an attack, whatever our limit is.
MOST_PIXELS = 178_956_970

#: What a stream gives: formats whose encoders take strips and hold none.
STREAMED = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

# As the command line allows.
_LARGEST_SCALE = 32

Order = super_resolution_pb2.UpscaleStreamRequest.Order


class StreamLimits(Config):
    """What streams may bring.

    Attributes:
        max_pixels: of what is held as a whole: a file's image, or the rows that an upscaler has to
            see at a time. No file's header is read beyond `MOST_PIXELS`.
        max_bytes: of one file.
        max_side: of an image that comes in rows, of which only strips are held.
    """

    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 2**26
    max_bytes: Annotated[int, Field(ge=1)] = 2**30
    max_side: Annotated[int, Field(ge=1)] = 2**16


def check_order(order: Order, limits: StreamLimits) -> None:
    """Refuse an order that cannot be, whatever follows it; of rows, `row_image_of` says more.

    Raises:
        InvalidInput: a suffix, a quality, a scale or a size that cannot be.
        LimitExceeded: the file is too large.
    """
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
    if order.HasField("rows"):
        return
    if order.result:
        raise InvalidInput(
            "order.result: the result of a file is a file; name it in order.suffix",
            field="order.result",
        )
    _check_suffix(order.suffix)
    if order.size < 1:
        raise InvalidInput(
            f"order.size: {order.size}; a file has 1 byte or more", field="order.size"
        )
    if order.size > limits.max_bytes:
        raise LimitExceeded(
            f"order.size: {order.size} bytes; at most {limits.max_bytes} are taken",
            field="order.size",
        )


def row_image_of(order: Order, limits: StreamLimits) -> RowImage:
    """The image whose rows will follow an order that has ``rows``.

    Raises:
        InvalidInput: no such image, or another size than its rows have.
        ImageTooLarge: larger than the limits.
    """
    image = codec.row_image_from_proto(order.rows)
    if max(image.height, image.width) > limits.max_side:
        raise ImageTooLarge(
            f"order.rows: {image.width} x {image.height} pixels; at most {limits.max_side} a side "
            "are taken",
            field="order.rows",
        )
    if order.size != image.size:
        raise InvalidInput(
            f"order.size: {order.size} bytes; the rows have {image.size}", field="order.size"
        )
    return image


def check_held(image: RowImage, rows: int, limits: StreamLimits) -> None:
    """Refuse an image of which an upscaler wants to see too much at a time.

    Args:
        image: that will come.
        rows: that are read before the first of the result is made.
        limits: of what comes.

    Raises:
        ImageTooLarge: they have more pixels than a file may.
    """
    if rows * image.width > limits.max_pixels:
        raise ImageTooLarge(
            f"order.rows: {image.width} x {image.height} pixels; this model has to see {rows} rows "
            f"at a time, and at most {limits.max_pixels} pixels are held",
            field="order.rows",
        )


def result_dtype_of(order: Order) -> torch.dtype | None:
    """The type of the rows of a result; None if the result is a file.

    Raises:
        InvalidInput: neither or both are ordered, or a type that no result has.
    """
    if not order.result:
        _check_suffix(order.suffix)
        return None
    dtype = codec.dtype_from_proto(order.result, "order.result")
    if order.suffix or dtype not in RESULT_DTYPES:
        raise InvalidInput(
            "order.result: either the rows of a result, as float32 or uint8, or order.suffix for a "
            "file",
            field="order.result",
        )
    return dtype


def _check_suffix(suffix: str) -> None:
    if suffix not in STREAMED:
        raise InvalidInput(
            f"order.suffix: {suffix[:20]!r} is none of {', '.join(sorted(STREAMED))}",
            field="order.suffix",
        )
