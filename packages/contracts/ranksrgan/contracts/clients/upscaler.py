"""An upscaler that lives in another process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.clients.upscale_rows import ReadRows, stream_rows
from ranksrgan.contracts.clients.upscale_stream import stream_file
from ranksrgan.contracts.errors import (
    InternalError,
)
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import (
    image_pb2,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)
from ranksrgan.contracts.wire import codec
from ranksrgan.contracts.wire.tensor_transport import Parcel


class RemoteUpscaler:
    """A model behind a ``SuperResolutionService``, pinned or not as a `RemoteScorer` is."""

    def __init__(self, connection: Connection, model: OpenedModel, info: UpscalerInfo) -> None:
        self._connection = connection
        self._model = model
        self._info = info

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    def upscale(self, images: Tensor) -> Tensor:
        """See `Upscaler.upscale`."""

        def work(parcel: Parcel) -> Tensor:
            request = super_resolution_pb2.UpscaleRequest(
                model=self._model.name,
                parameters_hash=self._model.parameters_hash,
                images=parcel.images(images, "images"),
                results=parcel.room(self._enlarged(images), torch.float32),
            )
            answer = self._answer(request)
            if all(image.HasField("shared") for image in answer.images):
                return parcel.results(images.device)
            enlarged = [codec.tensor_from_proto(image.tensor) for image in answer.images]
            return torch.stack(enlarged).to(images.device)

        room = math.prod(self._enlarged(images)) * torch.float32.itemsize
        return self._connection.exchange([images], room, work)

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor to fill that the server reads in place; see `RemoteScorer.empty`."""
        return self._connection.tensors.empty(tuple(shape), dtype)

    def upscale_encoded(self, data: bytes) -> bytes:
        """Enlarge an image file's content; PNG comes back, with transparency and bit depth kept."""
        images = [image_pb2.Image(encoded=data)]
        request = super_resolution_pb2.UpscaleRequest(
            model=self._model.name, parameters_hash=self._model.parameters_hash, images=images
        )
        answer = self._connection.attempt(lambda: self._answer(request))
        encoded: bytes = answer.images[0].encoded
        return encoded

    def upscale_file(
        self,
        source: Path,
        target: Path,
        *,
        quality: int = 95,
        out_scale: Fraction | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> tuple[int, int]:
        """See `FileUpscaler.upscale_file`: a stream both ways, so that no limit of messages counts.

        Raises:
            NotSupported: the server takes no streams.
            DeadlineExceeded: nothing came for longer than the timeout.
        """
        return stream_file(
            self._connection,
            self._model,
            source,
            target,
            quality=quality,
            out_scale=out_scale,
            progress=progress,
        )

    def upscale_rows(
        self,
        image: RowImage,
        read_rows: ReadRows,
        *,
        out_scale: Fraction | None = None,
        result: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Enlarge an image that is nowhere whole: not here, not in the server.

        Rows are read as the server takes them, and it takes them as what it makes of them is read
        here. Strips are those of an upscaler in this process that makes strips of the same tiles,
        to the bit in float32. An image of one channel is grey and stays so.

        Args:
            image: what comes.
            read_rows: is asked for every row once, in order, from another thread: (0, a), (a, b),
                ... (z, height); gives ``(1, channels, bottom - top, width)`` of the image's type.
                What it raises is raised here.
            out_scale: side of the result over that of the image, up to two decimals; None is the
                upscaler's scale.
            result: float32, as the model makes it, or uint8, which is rounded.

        Yields:
            Rows of the result from the top down, ``(1, channels, n, scale * width)`` of type
            ``result``, in [0, 1] or 0 to 255; n as it comes.

        Raises:
            NotSupported: the server takes no streams.
            InvalidInput: rows of another shape or type, values that are no pixels, or an option
                that cannot be.
            ImageTooLarge: more pixels a side, or more at a time, than the server takes.
            DeadlineExceeded: nothing came for longer than the timeout.
            ServiceUnavailable: the server went; rows that were read are not sent again.
        """
        return stream_rows(
            self._connection,
            self._info,
            self._model,
            image,
            read_rows,
            out_scale=out_scale,
            result=result,
        )

    def close(self) -> None:
        self._connection.close()

    def _answer(
        self, request: super_resolution_pb2.UpscaleRequest
    ) -> super_resolution_pb2.UpscaleResponse:
        stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(self._connection.channel())
        answer = stub.Upscale(request, timeout=self._connection.timeout)
        if len(answer.images) != len(request.images):
            raise InternalError(
                f"{self._connection.address} sent {len(answer.images)} images for "
                f"{len(request.images)}"
            )
        response: super_resolution_pb2.UpscaleResponse = answer
        return response

    def _enlarged(self, images: Tensor) -> tuple[int, ...]:
        """The shape of what becomes of a batch."""
        *first, height, width = images.shape
        return (*first, self._info.scale * height, self._info.scale * width)


def connect_upscaler(
    address: str,
    name: str,
    *,
    timeout: float = 300.0,
    retry_for: float = 0.0,
    pinned: bool = False,
) -> RemoteUpscaler:
    """Ask the server at ``address`` for a model; raises as `connect_scorer`."""
    connection = Connection(address, timeout=timeout, retry_for=retry_for)
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    request = super_resolution_pb2.ListModelsRequest(models=[name])
    answer = connection.call(stub.ListModels, request)
    connection.tensors.offered(answer.shared_tensors)
    info = codec.upscaler_info_from_proto(answer.models[0])
    return RemoteUpscaler(connection, OpenedModel.of(name, info, pinned=pinned), info)


def list_upscalers(address: str, *, timeout: float = 10.0) -> list[UpscalerInfo]:
    """What the ``SuperResolutionService`` at ``address`` offers; raises as `list_scorers`."""
    with closing(Connection(address, timeout=timeout, retry_for=0.0)) as connection:
        stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
        answer = connection.call(stub.ListModels, super_resolution_pb2.ListModelsRequest())
    return [codec.upscaler_info_from_proto(info) for info in answer.models]
