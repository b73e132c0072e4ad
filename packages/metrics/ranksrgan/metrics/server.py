"""The metrics service: ``ScoringService`` and ``FeatureService`` over the catalog, and the Open
Inference Protocol."""

from __future__ import annotations

from ranksrgan.contracts import rpc
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer
from ranksrgan.contracts.serving.model_checks import warm_up
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ImageServerSettings
from ranksrgan.metrics.catalog import MetricCatalog

# NIQE wants two blocks of 96 x 96 at least.
_WARM_UP = (192, 192)


def serve(settings: ImageServerSettings) -> int:
    """Serve every metric until SIGTERM.

    It is ready when the native operators are there, compiled if need be, and NIQE has run. Other
    metrics are opened when they are first asked for.

    Raises:
        InvalidConfig: see `ServerSettings.check`.
        AddressInUse: another server has the address.
    """
    kinds = (FeatureServicer, InferenceServicer)
    names = [kind.full_name for kind in (ScoringServicer, *kinds)]

    def load(observers: Observers) -> rpc.Services:
        catalog = MetricCatalog()
        warm_up(catalog.open("niqe"), _WARM_UP, "niqe")
        scoring = ScoringServicer(
            catalog,
            max_pixels=settings.max_pixels,
            max_message_bytes=settings.max_message_bytes,
            spool=settings.open_spool(),
        )
        others = [kind(catalog, max_pixels=settings.max_pixels) for kind in kinds]
        return rpc.Services([scoring, *others])

    return rpc.serve(settings, names, load)
