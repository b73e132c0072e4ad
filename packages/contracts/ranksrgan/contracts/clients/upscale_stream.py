"""An image file enlarged by a service through a stream, whatever the size of either."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from ranksrgan.contracts import atomic, cancellation
from ranksrgan.contracts.clients.connection import Connection, read_in_time
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import InternalError, InvalidImage, InvalidInput
from ranksrgan.contracts.regular_files import open_regular
from ranksrgan.contracts.v1 import super_resolution_pb2, super_resolution_pb2_grpc

_CHUNK = 2**20 - 2**10  # with what is around it, a message of 1 MiB, which every server takes

Request = super_resolution_pb2.UpscaleStreamRequest
Response = super_resolution_pb2.UpscaleStreamResponse


def stream_file(
    connection: Connection,
    model: OpenedModel,
    source: Path,
    target: Path,
    *,
    quality: int,
    out_scale: Fraction | None,
    progress: Callable[[float], object] | None,
) -> tuple[int, int]:
    """See `ranksrgan.contracts.upscaler.FileUpscaler.upscale_file`.

    Args:
        connection: to the service. Its timeout is for each response, which come during the work
            too; where the service goes away and its patience allows it, all begins anew.
        model: that enlarges it.
    """
    source, target = Path(source), Path(target)
    hundredths = hundredths_of(out_scale)

    def attempt() -> tuple[int, int]:
        with open_regular(source) as file:
            order = Request.Order(
                model=model.name,
                parameters_hash=model.parameters_hash,
                size=source.stat().st_size,
                suffix=target.suffix.lower(),
                quality=quality,
                out_scale_hundredths=hundredths,
            )
            with temporary.open("wb") as result:
                return _exchange(connection, order, file, result, progress)

    try:
        open_regular(source).close()
    except OSError as error:
        raise InvalidImage(f"{source}: {error.strerror}", field=str(source)) from error
    with atomic.replacing(target) as temporary:
        return connection.attempt(attempt)


def hundredths_of(out_scale: Fraction | None) -> int:
    """A scale as it travels; 0 for None.

    Raises:
        InvalidInput: it has more than two decimals.
    """
    hundredths = 100 * (out_scale or Fraction(0))
    if hundredths.denominator != 1:
        raise InvalidInput(
            f"an out_scale of {float(hundredths) / 100:g} has more than two decimals",
            field="out_scale",
        )
    return int(hundredths)


def _exchange(
    connection: Connection,
    order: Request.Order,
    file: BinaryIO,
    result: BinaryIO,
    progress: Callable[[float], object] | None,
) -> tuple[int, int]:
    """Send the file and write what comes."""
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    call = stub.UpscaleStream(_requests(order, file))
    digest, finished = hashlib.sha256(), None
    try:
        while (response := read_in_time(call, connection, "the next part of a file")) is not None:
            cancellation.check()
            part = response.WhichOneof("part")
            if part == "chunk":
                digest.update(response.chunk)
                result.write(response.chunk)
            elif part == "progress" and progress is not None:
                progress(response.progress)
            elif part == "finished":
                finished = response.finished
    finally:
        call.cancel()
    if finished is None or finished.sha256 != digest.hexdigest():
        raise InternalError(f"{connection.address} sent a result that is not whole")
    return finished.width, finished.height


def _requests(order: Request.Order, file: BinaryIO) -> Iterator[Any]:
    yield Request(order=order)
    while chunk := file.read(_CHUNK):
        yield Request(chunk=chunk)
