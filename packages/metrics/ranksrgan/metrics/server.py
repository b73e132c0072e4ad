"""The metrics service: ``ScoringService`` and ``FeatureService`` over the catalog, and the Open
Inference Protocol."""

from __future__ import annotations

from ranksrgan.contracts import rpc
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.metrics.catalog import MetricCatalog


def serve(listen: str, *, workers: int, queue: int, max_pixels: int, max_message_bytes: int) -> int:
    """Serve every metric at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    Args:
        listen: the address.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one image.
        max_message_bytes: of one request.
    """
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    catalog = MetricCatalog()
    servicers = [
        kind(catalog, max_pixels=max_pixels)
        for kind in (ScoringServicer, FeatureServicer, InferenceServicer)
    ]
    return rpc.serve(listen, servicers, limits)
