"""``FeatureService``, over a catalog of scorers."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import grpc

from ranksrgan.contracts.errors import NotSupported
from ranksrgan.contracts.scorer import FeatureExtractor
from ranksrgan.contracts.serving.images import MAX_PIXELS, read_batches
from ranksrgan.contracts.serving.same_model import require_same
from ranksrgan.contracts.serving.scoring import ScorerCatalog
from ranksrgan.contracts.serving.turn import alone
from ranksrgan.contracts.v1 import features_pb2, features_pb2_grpc
from ranksrgan.contracts.wire import codec


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
        require_same(scorer.info, request.parameters_hash, "scorer")
        if not isinstance(scorer, FeatureExtractor):
            raise NotSupported(f"{request.scorer} has no features", field="scorer")
        batches = read_batches(request.images, [], self._max_pixels)
        response = features_pb2.ExtractFeaturesResponse()
        for batch, _ in batches:
            features = alone(
                scorer,
                request.scorer,
                "extract",
                partial(scorer.extract, batch),
                images=len(batch),
                pixels=len(batch) * batch.shape[-2:].numel(),
            )
            response.features.extend(
                codec.feature_set_to_proto({name: array[i] for name, array in features.items()})
                for i in range(len(batch))
            )
        return response
