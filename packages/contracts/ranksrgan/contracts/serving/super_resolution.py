"""``SuperResolutionService``, over anything that satisfies the protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import grpc
from torch import Tensor

from ranksrgan.contracts import codec
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture
from ranksrgan.contracts.serving.images import MAX_PIXELS, batches
from ranksrgan.contracts.serving.turn import compute
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.contracts.v1 import super_resolution_pb2, super_resolution_pb2_grpc


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
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.SuperResolutionService"

    def __init__(
        self,
        catalog: UpscalerCatalog,
        render: Callable[[Picture, Upscaler], Picture],
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._catalog = catalog
        self._render = render
        self._max_pixels = max_pixels

    def add_to(self, server: grpc.Server) -> None:
        super_resolution_pb2_grpc.add_SuperResolutionServiceServicer_to_server(self, server)

    def ListModels(
        self, request: super_resolution_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> super_resolution_pb2.ListModelsResponse:
        infos = [self._catalog.open(name).info for name in request.models]
        return super_resolution_pb2.ListModelsResponse(
            models=[codec.upscaler_info_to_proto(info) for info in infos or self._catalog.infos()]
        )

    def Upscale(
        self, request: super_resolution_pb2.UpscaleRequest, context: grpc.ServicerContext
    ) -> super_resolution_pb2.UpscaleResponse:
        upscaler = _OnDevice(self._catalog.open(request.model), request.model)
        if not request.images:
            raise InvalidInput("images: none were sent", field="images")
        response = super_resolution_pb2.UpscaleResponse()
        if all(image.WhichOneof("kind") == "tensor" for image in request.images):
            images = [
                codec.image_from_proto(image, f"images[{i}]", self._max_pixels)
                for i, image in enumerate(request.images)
            ]
            for batch, _ in batches(images, None):
                response.images.extend(codec.image_to_proto(y) for y in upscaler.upscale(batch))
            return response
        for i, image in enumerate(request.images):
            if image.WhichOneof("kind") != "encoded":
                raise InvalidInput(
                    "images: either all encoded or all tensors, please", field=f"images[{i}]"
                )
            picture = codec.picture_from_proto(image, f"images[{i}]", self._max_pixels)
            response.images.append(codec.picture_to_proto(self._render(picture, upscaler)))
        return response


class _OnDevice:
    """An upscaler that works in the thread of its device, joined with those of other calls."""

    def __init__(self, upscaler: Upscaler, name: str) -> None:
        self._upscaler = upscaler
        self._name = name

    @property
    def info(self) -> UpscalerInfo:
        return self._upscaler.info

    def upscale(self, images: Tensor) -> Tensor:
        def upscale(images: Tensor) -> tuple[Tensor]:
            return (self._upscaler.upscale(images),)

        (enlarged,) = compute(self._upscaler, self._name, "upscale", upscale, images)
        return enlarged
