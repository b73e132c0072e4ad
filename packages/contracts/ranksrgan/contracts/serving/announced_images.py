"""The images of ``ScoreStream``, which come within a request, or in chunks if they are larger.

What comes in chunks was announced: its size, and the type and shape of a tensor. That is checked
before a byte of it is kept. It is kept on the disk until it is whole, so that images that are on
their way take no memory, however many streams bring some.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded, RankSRGANError
from ranksrgan.contracts.serving.spool import Spool, SpooledFile
from ranksrgan.contracts.v1 import scoring_pb2
from ranksrgan.contracts.wire import codec
from ranksrgan.contracts.wire.announced_image import AnnouncedImage

Request = scoring_pb2.ScoreStreamRequest


class OutOfStep(InvalidInput):
    """A stream's chunks are not those that it announced: where the next image begins is unknown."""


class _Arrived(NamedTuple):
    announced: AnnouncedImage
    file: SpooledFile


class AnnouncedImages:
    """Reads the image, and the reference if there is one, of each request of a stream.

    Args:
        max_pixels: of one image.
        spool: keeps what is on its way.
    """

    def __init__(self, max_pixels: int, spool: Spool) -> None:
        self._max_pixels = max_pixels
        self._spool = spool

    def read(self, request: Request, requests: Iterator[Request]) -> tuple[Tensor, Tensor | None]:
        """Image and reference as ``(3|1, H, W)``, read to their last chunk in any case.

        Args:
            request: with the image, or what announces it.
            requests: those that follow it, of which its chunks are read.

        Raises:
            OutOfStep: other chunks come, or none; the stream cannot go on.
            InvalidInput, InvalidImage, ImageTooLarge: as `codec.image_from_proto`, or what is
                announced cannot be.
            Overloaded, DiskFull: there is no room for it.
        """
        if request.HasField("chunk"):
            raise OutOfStep("chunk: no image was announced, or all of it has come", field="chunk")
        with ExitStack() as files:
            arrived = self._receive(request, requests, files)
            image = self._decode(request, "image", arrived)
            if not (request.HasField("reference") or "reference" in arrived):
                return image, None
            return image, self._decode(request, "reference", arrived)

    def _receive(
        self, request: Request, requests: Iterator[Request], files: ExitStack
    ) -> dict[str, _Arrived]:
        """What comes in chunks, by name; the first thing that is wrong is raised after the last."""
        arrived: dict[str, _Arrived] = {}
        problem: RankSRGANError | None = None
        for name in ("image", "reference"):
            if not request.HasField(f"{name}_ahead"):
                continue
            message = getattr(request, f"{name}_ahead")
            try:
                if request.HasField(name):
                    raise InvalidInput(f"{name}: it is there, and announced too", field=name)
                announced = codec.image_ahead_from_proto(message, f"{name}_ahead", self._max_pixels)
                arrived[name] = _Arrived(announced, files.enter_context(self._spool.file()))
            except RankSRGANError as error:
                problem = problem or error
            left = max(message.size, 0)
            while left:
                chunk = _chunk(requests, left, name)
                left -= len(chunk)
                if problem is None:
                    try:
                        arrived[name].file.write(chunk)
                    except LimitExceeded as error:
                        problem = error
        if problem is not None:
            raise problem
        return arrived

    def _decode(self, request: Request, name: str, arrived: dict[str, _Arrived]) -> Tensor:
        if name not in arrived:
            return codec.image_from_proto(getattr(request, name), name, self._max_pixels)
        announced, file = arrived[name]
        return announced.decode(file.content(), name, self._max_pixels)


def _chunk(requests: Iterator[Request], left: int, name: str) -> bytes:
    request = next(requests, None)
    if request is None:
        raise OutOfStep(f"chunk: the stream ends, and {left} bytes of {name} are missing")
    if [field.name for field, _ in request.ListFields()] != ["chunk"]:
        raise OutOfStep(
            f"chunk: {left} bytes of {name} are to come, in requests of chunks alone", field="chunk"
        )
    chunk: bytes = request.chunk
    if not 0 < len(chunk) <= left:
        raise OutOfStep(
            f"chunk: {len(chunk)} bytes, where 1 to {left} of {name} are to come", field="chunk"
        )
    return chunk
