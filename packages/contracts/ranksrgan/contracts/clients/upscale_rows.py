"""An image that is nowhere whole, enlarged by a service: rows go, and enlarged rows come."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.clients.upscale_stream import hundredths_of
from ranksrgan.contracts.errors import InternalError, InvalidInput, RankSRGANError
from ranksrgan.contracts.row_image import RowImage, rows_from_bytes, rows_to_bytes
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import super_resolution_pb2, super_resolution_pb2_grpc
from ranksrgan.contracts.wire import codec

_CHUNK = 2**20 - 2**10  # with what is around it, a message of 1 MiB, which every server takes

Request = super_resolution_pb2.UpscaleStreamRequest

#: ``(top, bottom)`` to those rows of an image: ``(1, channels, bottom - top, W)``.
ReadRows = Callable[[int, int], Tensor]


def stream_rows(
    connection: Connection,
    info: UpscalerInfo,
    model: OpenedModel,
    image: RowImage,
    read_rows: ReadRows,
    *,
    out_scale: Fraction | None,
    result: torch.dtype,
) -> Iterator[Tensor]:
    """See `RemoteUpscaler.upscale_rows`.

    Args:
        connection: to the service. Its timeout is for each response. What a server has not made
            when it goes is lost: rows are read once.
        info: of the model.
        model: that enlarges it.
    """
    scale = Fraction(info.scale) if out_scale is None else out_scale
    made = RowImage(
        math.ceil(scale * image.height), math.ceil(scale * image.width), image.channels, result
    )
    order = Request.Order(
        model=model.name,
        parameters_hash=model.parameters_hash,
        size=image.size,
        rows=codec.row_image_to_proto(image),
        result=codec.dtype_to_proto(result),
        out_scale_hundredths=hundredths_of(out_scale),
    )
    failures: list[Exception] = []
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    call = stub.UpscaleStream(_requests(order, image, read_rows, failures))
    digest, held, size, finished = hashlib.sha256(), bytearray(), 0, None
    try:
        while (response := connection.read(call, "the next rows")) is not None:
            cancellation.check()
            if response.HasField("finished"):
                finished = response.finished
            digest.update(response.chunk)
            held += response.chunk
            size += len(response.chunk)
            whole = len(held) - len(held) % made.row_bytes
            if whole:
                rows = rows_from_bytes(held[:whole], made)
                del held[:whole]
                yield rows
    except RankSRGANError:
        if failures:  # which is why the server has found the image too short
            raise failures[0] from None
        raise
    finally:
        call.cancel()
    if finished is None or finished.sha256 != digest.hexdigest() or size != made.size:
        raise InternalError(f"{connection.address} sent a result that is not whole")


def _requests(
    order: Request.Order, image: RowImage, read_rows: ReadRows, failures: list[Exception]
) -> Iterator[Request]:
    """The order and its chunks; what reading the rows raises is noted, and ends them too early."""
    yield Request(order=order)
    rows = max(_CHUNK // image.row_bytes, 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        try:
            data = _bytes_of(read_rows(top, bottom), bottom - top, image)
        except Exception as error:
            failures.append(error)
            return
        for at in range(0, len(data), _CHUNK):
            yield Request(chunk=data[at : at + _CHUNK])


def _bytes_of(rows: Tensor, count: int, image: RowImage) -> bytes:
    wanted = (1, image.channels, count, image.width)
    if rows.shape != wanted or rows.dtype != image.dtype:
        raise InvalidInput(
            f"{count} rows have the shape {tuple(rows.shape)} and the type {rows.dtype}; {wanted} "
            f"of {image.dtype} is wanted",
            field="images",
        )
    return rows_to_bytes(rows[0], image.dtype)
