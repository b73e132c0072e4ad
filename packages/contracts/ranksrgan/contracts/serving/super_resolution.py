"""``SuperResolutionService``, over anything that satisfies the protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, Protocol

import grpc

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput, NotSupported
from ranksrgan.contracts.images import Picture
from ranksrgan.contracts.serving.images import MAX_PIXELS, check_number, read_batches
from ranksrgan.contracts.serving.on_device import UpscalerOnDevice
from ranksrgan.contracts.serving.precedence import behind
from ranksrgan.contracts.serving.same_model import require_same
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.contracts.v1 import image_pb2, super_resolution_pb2, super_resolution_pb2_grpc
from ranksrgan.contracts.wire import codec, request_segments


class UpscalerCatalog(Protocol):
    """The models behind one service."""

    def infos(self) -> list[UpscalerInfo]: ...

    def open(self, name: str) -> Upscaler:
        """The model of that name; raises UnknownName."""
        ...


class SuperResolutionServicer(super_resolution_pb2_grpc.SuperResolutionServiceServicer):
    """``SuperResolutionService`` over a catalog of models.

    Args:
        catalog: the models.
        render: enlarges a whole picture, transparency and bit depth included, with a model.
        max_pixels: of one input image.
        streams: answers streams; None if there are to be none.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.SuperResolutionService"

    def __init__(
        self,
        catalog: UpscalerCatalog,
        render: Callable[[Picture, Upscaler], Picture],
        *,
        max_pixels: int = MAX_PIXELS,
        streams: UpscaleStreams | None = None,
    ) -> None:
        self._catalog = catalog
        self._render = render
        self._streams = streams
        self._max_pixels = max_pixels

    def add_to(self, server: grpc.Server) -> None:
        super_resolution_pb2_grpc.add_SuperResolutionServiceServicer_to_server(self, server)

    def ListModels(
        self, request: super_resolution_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> super_resolution_pb2.ListModelsResponse:
        infos = [self._catalog.open(name).info for name in request.models]
        return super_resolution_pb2.ListModelsResponse(
            models=[codec.upscaler_info_to_proto(info) for info in infos or self._catalog.infos()],
            shared_tensors=request_segments.available(),
        )

    def Upscale(
        self, request: super_resolution_pb2.UpscaleRequest, context: grpc.ServicerContext
    ) -> super_resolution_pb2.UpscaleResponse:
        model = self._catalog.open(request.model)
        require_same(model.info, request.parameters_hash, "model")
        upscaler = UpscalerOnDevice(model, request.model)
        check_number(len(request.images), "images")
        response = super_resolution_pb2.UpscaleResponse()
        if all(image.WhichOneof("kind") in ("tensor", "shared") for image in request.images):
            batches = read_batches(request.images, [], self._max_pixels)
            enlarged = [upscaler.upscale(batch) for batch, _ in batches]
            if codec.put_tensors(enlarged, request.results, "results"):
                response.images.extend(image_pb2.Image(shared=place) for place in request.results)
            else:
                response.images.extend(
                    codec.image_to_proto(one) for batch in enlarged for one in batch
                )
            return response
        for i, image in enumerate(request.images):
            if image.WhichOneof("kind") != "encoded":
                raise InvalidInput(
                    "images: either all encoded or all tensors, please", field=f"images[{i}]"
                )
            cancellation.check()
            read = partial(codec.picture_from_proto, image, f"images[{i}]", self._max_pixels)
            enlargement = self._render(behind(read), upscaler)
            response.images.append(behind(partial(codec.picture_to_proto, enlargement)))
        return response

    def UpscaleStream(
        self,
        request_iterator: Iterator[super_resolution_pb2.UpscaleStreamRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[super_resolution_pb2.UpscaleStreamResponse]:
        if self._streams is None:
            raise NotSupported("this server takes no streams of images")
        return self._streams.answer(request_iterator, self._catalog.open)
