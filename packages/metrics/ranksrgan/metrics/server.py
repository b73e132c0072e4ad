"""The metrics service: ``ScoringService`` and ``FeatureService`` over the catalog, and the Open
Inference Protocol."""

from __future__ import annotations

from ranksrgan.contracts import rpc
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ImageServerSettings
from ranksrgan.metrics.catalog import MetricCatalog


def serve(settings: ImageServerSettings) -> int:
    """Serve every metric until SIGTERM. A metric is opened when it is first asked for.

    Raises:
        InvalidConfig: see `ServerSettings.check`.
        AddressInUse: another server has the address.
    """
    kinds = (ScoringServicer, FeatureServicer, InferenceServicer)

    def load(observers: Observers) -> rpc.Services:
        catalog = MetricCatalog()
        return rpc.Services([kind(catalog, max_pixels=settings.max_pixels) for kind in kinds])

    return rpc.serve(settings, [kind.full_name for kind in kinds], load)
