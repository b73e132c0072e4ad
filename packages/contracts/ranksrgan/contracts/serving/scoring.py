"""``ScoringService``, over anything that satisfies the protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

import grpc
from torch import Tensor

from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    NotSupported,
    RankSRGANError,
    RequestCancelled,
)
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer, ScorerInfo
from ranksrgan.contracts.serving.announced_images import AnnouncedImages, OutOfStep
from ranksrgan.contracts.serving.images import MAX_PIXELS, read_batches
from ranksrgan.contracts.serving.on_device import gradient_on_device, score_on_device
from ranksrgan.contracts.serving.same_model import require_same
from ranksrgan.contracts.serving.spool import Spool
from ranksrgan.contracts.v1 import (
    scoring_pb2,
    scoring_pb2_grpc,
)
from ranksrgan.contracts.wire import codec, error_codec, request_segments


class ScorerCatalog(Protocol):
    """The scorers behind one service."""

    def infos(self) -> list[ScorerInfo]: ...

    def open(self, name: str) -> Scorer:
        """The scorer of that name; raises UnknownName, or InvalidInput for a wrong option."""
        ...


class ScoringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """``ScoringService`` over a catalog of scorers.

    Args:
        catalog: the scorers.
        max_pixels: of one image.
        max_message_bytes: of a request, as the server has it; what is larger comes in chunks.
        spool: keeps what comes in chunks until it is whole; None for one of 8 GiB in the system's
            folder for temporary files.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.ScoringService"

    def __init__(
        self,
        catalog: ScorerCatalog,
        *,
        max_pixels: int = MAX_PIXELS,
        max_message_bytes: int = 64 * 2**20,
        spool: Spool | None = None,
    ) -> None:
        self._catalog = catalog
        self._max_pixels = max_pixels
        self._max_message_bytes = max_message_bytes
        self._announced = AnnouncedImages(max_pixels, spool or Spool())

    def add_to(self, server: grpc.Server) -> None:
        scoring_pb2_grpc.add_ScoringServiceServicer_to_server(self, server)

    def ListScorers(
        self, request: scoring_pb2.ListScorersRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ListScorersResponse:
        infos = [self._catalog.open(name).info for name in request.scorers]
        return scoring_pb2.ListScorersResponse(
            scorers=[codec.scorer_info_to_proto(info) for info in infos or self._catalog.infos()],
            shared_tensors=request_segments.available(),
            max_message_bytes=self._max_message_bytes,
        )

    def Score(
        self, request: scoring_pb2.ScoreRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ScoreResponse:
        scorer = self._open(request)
        batches = read_batches(request.images, request.references, self._max_pixels)
        scores: list[float] = []
        for batch, batch_references in batches:
            scores += score_on_device(scorer, request.scorer, batch, batch_references).tolist()
        return scoring_pb2.ScoreResponse(scores=scores)

    def ScoreStream(
        self,
        request_iterator: Iterator[scoring_pb2.ScoreStreamRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[scoring_pb2.ScoreStreamResponse]:
        for request in request_iterator:
            response = scoring_pb2.ScoreStreamResponse(id=request.id)
            try:
                image, reference = self._announced.read(request, request_iterator)
                response.score = self._score_one(request, image, reference)
            except (RequestCancelled, DeadlineExceeded, OutOfStep):
                raise
            except RankSRGANError as error:
                response.error.CopyFrom(error_codec.item_error_to_proto(error))
            yield response

    def ScoreGradient(
        self, request: scoring_pb2.ScoreGradientRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ScoreGradientResponse:
        scorer = self._open(request)
        if not scorer.info.differentiable or not isinstance(scorer, DifferentiableScorer):
            raise NotSupported(f"{request.scorer} has no gradient", field="scorer")
        batches = read_batches(request.images, request.references, self._max_pixels)
        response = scoring_pb2.ScoreGradientResponse()
        found: list[Tensor] = []
        for batch, batch_references in batches:
            scores, gradients = gradient_on_device(scorer, request.scorer, batch, batch_references)
            response.scores.extend(scores.tolist())
            found.append(gradients)
        if not codec.put_tensors(found, request.gradients, "gradients"):
            response.gradients.extend(
                codec.tensor_to_proto(one) for batch in found for one in batch
            )
        return response

    def _score_one(
        self, request: scoring_pb2.ScoreStreamRequest, image: Tensor, reference: Tensor | None
    ) -> float:
        against = None if reference is None else reference[None]
        scorer = self._open(request)
        return float(score_on_device(scorer, request.scorer, image[None], against))

    def _open(
        self,
        request: scoring_pb2.ScoreRequest
        | scoring_pb2.ScoreGradientRequest
        | scoring_pb2.ScoreStreamRequest,
    ) -> Scorer:
        """The scorer that is meant, and no other of its name."""
        scorer = self._catalog.open(request.scorer)
        require_same(scorer.info, request.parameters_hash, "scorer")
        return scorer
