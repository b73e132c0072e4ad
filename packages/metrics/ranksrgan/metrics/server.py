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
    kinds = (FeatureServicer, InferenceServicer)
    names = [kind.full_name for kind in (ScoringServicer, *kinds)]

    def load(observers: Observers) -> rpc.Services:
        catalog = MetricCatalog()
        scoring = ScoringServicer(
            catalog,
            max_pixels=settings.max_pixels,
            max_message_bytes=settings.max_message_bytes,
            spool=settings.open_spool(),
        )
        others = [kind(catalog, max_pixels=settings.max_pixels) for kind in kinds]
        return rpc.Services([scoring, *others])

    return rpc.serve(settings, names, load)
