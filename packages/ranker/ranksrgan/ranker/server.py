"""The Ranker service: ``ScoringService`` over trained Rankers, gradients included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts import rpc
from ranksrgan.contracts.service import ScoringServicer
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.scorer import open_ranker


def serve(
    listen: str,
    rankers: Mapping[str, Path],
    *,
    workers: int,
    queue: int,
    max_pixels: int,
    max_message_bytes: int,
) -> int:
    """Serve Rankers at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    Args:
        listen: the address.
        rankers: weights by the name that clients use; all are loaded before anything is served.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one image.
        max_message_bytes: of one request.

    Raises:
        InvalidCheckpoint: a file is not a Ranker's; nothing is served then.
    """
    catalog = RankerCatalog({name: open_ranker(str(path), {}) for name, path in rankers.items()})
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    return rpc.serve(listen, [ScoringServicer(catalog, max_pixels=max_pixels)], limits)
