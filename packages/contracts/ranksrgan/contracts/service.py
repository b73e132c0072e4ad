"""The gRPC services, over anything that satisfies the protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Protocol

import grpc
import torch
from torch import Tensor

from ranksrgan.contracts import codec
from ranksrgan.contracts.errors import (
    InvalidInput,
    NotSupported,
    RankSRGANError,
    RequestCancelled,
)
from ranksrgan.contracts.images import Picture
from ranksrgan.contracts.scorer import DifferentiableScorer, FeatureExtractor, Scorer, ScorerInfo
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.contracts.v1 import (
    features_pb2,
    features_pb2_grpc,
    image_pb2,
    scoring_pb2,
    scoring_pb2_grpc,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)

#: Pixels of one image that a server decodes unless it is told otherwise.
MAX_PIXELS = 2**24


class ScorerCatalog(Protocol):
    """The scorers behind one service."""

    def infos(self) -> list[ScorerInfo]: ...

    def open(self, name: str) -> Scorer:
        """The scorer of that name; raises UnknownName, or InvalidInput for a wrong option."""
        ...


class UpscalerCatalog(Protocol):
    """The models behind one service."""

    def infos(self) -> list[UpscalerInfo]: ...

    def open(self, name: str) -> Upscaler:
        """The model of that name; raises UnknownName."""
        ...


class ScoringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """``ScoringService`` over a catalog of scorers."""

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.ScoringService"

    def __init__(self, catalog: ScorerCatalog, *, max_pixels: int = MAX_PIXELS) -> None:
        self._catalog = catalog
        self._max_pixels = max_pixels

    def add_to(self, server: grpc.Server) -> None:
        scoring_pb2_grpc.add_ScoringServiceServicer_to_server(self, server)

    def ListScorers(
        self, request: scoring_pb2.ListScorersRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ListScorersResponse:
        infos = [self._catalog.open(name).info for name in request.scorers]
        return scoring_pb2.ListScorersResponse(
            scorers=[codec.scorer_info_to_proto(info) for info in infos or self._catalog.infos()]
        )

    def Score(
        self, request: scoring_pb2.ScoreRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ScoreResponse:
        scorer = self._catalog.open(request.scorer)
        images, references = _read(request.images, request.references, self._max_pixels)
        scores: list[float] = []
        for batch, batch_references in _batches(images, references):
            scores += scorer.score(batch, batch_references).tolist()
        return scoring_pb2.ScoreResponse(scores=scores)

    def ScoreStream(
        self,
        request_iterator: Iterator[scoring_pb2.ScoreStreamRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[scoring_pb2.ScoreStreamResponse]:
        for request in request_iterator:
            response = scoring_pb2.ScoreStreamResponse(id=request.id)
            try:
                response.score = self._score_one(request)
            except RequestCancelled:
                raise
            except RankSRGANError as error:
                response.error.CopyFrom(codec.item_error_to_proto(error))
            yield response

    def ScoreGradient(
        self, request: scoring_pb2.ScoreGradientRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ScoreGradientResponse:
        scorer = self._catalog.open(request.scorer)
        if not scorer.info.differentiable or not isinstance(scorer, DifferentiableScorer):
            raise NotSupported(f"{request.scorer} has no gradient", field="scorer")
        images, references = _read(request.images, request.references, self._max_pixels)
        response = scoring_pb2.ScoreGradientResponse()
        for batch, batch_references in _batches(images, references):
            scores, gradients = scorer.gradient(batch, batch_references)
            response.scores.extend(scores.tolist())
            response.gradients.extend(codec.tensor_to_proto(gradient) for gradient in gradients)
        return response

    def _score_one(self, request: scoring_pb2.ScoreStreamRequest) -> float:
        scorer = self._catalog.open(request.scorer)
        image = codec.image_from_proto(request.image, "image", self._max_pixels)
        if not request.HasField("reference"):
            return float(scorer.score(image[None]))
        reference = codec.image_from_proto(request.reference, "reference", self._max_pixels)
        return float(scorer.score(image[None], reference[None]))


class FeatureServicer(features_pb2_grpc.FeatureServiceServicer):
    """``FeatureService`` over a catalog of scorers, some of which have features."""

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.FeatureService"

    def __init__(self, catalog: ScorerCatalog, *, max_pixels: int = MAX_PIXELS) -> None:
        self._catalog = catalog
        self._max_pixels = max_pixels

    def add_to(self, server: grpc.Server) -> None:
        features_pb2_grpc.add_FeatureServiceServicer_to_server(self, server)

    def ExtractFeatures(
        self, request: features_pb2.ExtractFeaturesRequest, context: grpc.ServicerContext
    ) -> features_pb2.ExtractFeaturesResponse:
        scorer = self._catalog.open(request.scorer)
        if not isinstance(scorer, FeatureExtractor):
            raise NotSupported(f"{request.scorer} has no features", field="scorer")
        images, _ = _read(request.images, [], self._max_pixels)
        response = features_pb2.ExtractFeaturesResponse()
        for batch, _ in _batches(images, None):
            features = scorer.extract(batch)
            response.features.extend(
                codec.feature_set_to_proto({name: array[i] for name, array in features.items()})
                for i in range(len(batch))
            )
        return response


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
        upscaler = self._catalog.open(request.model)
        if not request.images:
            raise InvalidInput("images: none were sent", field="images")
        response = super_resolution_pb2.UpscaleResponse()
        if all(image.WhichOneof("kind") == "tensor" for image in request.images):
            images = [
                codec.image_from_proto(image, f"images[{i}]", self._max_pixels)
                for i, image in enumerate(request.images)
            ]
            for batch, _ in _batches(images, None):
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


def _read(
    images: Sequence[image_pb2.Image], references: Sequence[image_pb2.Image], max_pixels: int
) -> tuple[list[Tensor], list[Tensor] | None]:
    if not images:
        raise InvalidInput("images: none were sent", field="images")
    if references and len(references) != len(images):
        raise InvalidInput(
            f"{len(references)} references for {len(images)} images", field="references"
        )
    read = [
        codec.image_from_proto(image, f"images[{i}]", max_pixels) for i, image in enumerate(images)
    ]
    against = [
        codec.image_from_proto(image, f"references[{i}]", max_pixels)
        for i, image in enumerate(references)
    ]
    return read, against or None


def _batches(
    images: list[Tensor], references: list[Tensor] | None
) -> list[tuple[Tensor, Tensor | None]]:
    """One batch if all images are alike, as they are when a Python client sent one; else singles.

    A batch stays the batch that the client sees, since its size can change a network's last bits.
    """
    alike = len({(image.shape, image.dtype) for image in images}) == 1
    if alike and (references is None or len({(r.shape, r.dtype) for r in references}) == 1):
        return [(torch.stack(images), torch.stack(references) if references else None)]
    return [
        (image[None], references[i][None] if references else None) for i, image in enumerate(images)
    ]
