"""The upscaling service: ``SuperResolutionService`` over trained generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts import rpc
from ranksrgan.contracts.service import SuperResolutionServicer
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.picture import upscale_picture
from ranksrgan.srgan.upscaler import open_generator


def serve(
    listen: str,
    models: Mapping[str, Path],
    *,
    workers: int,
    queue: int,
    max_pixels: int,
    max_message_bytes: int,
) -> int:
    """Serve generators at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    Args:
        listen: the address.
        models: weights by the name that clients use; all are loaded before anything is served.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one input image.
        max_message_bytes: of one request.

    Raises:
        InvalidCheckpoint: a file is not a generator's; nothing is served then.
    """
    catalog = UpscalerCatalog(
        {name: open_generator(str(path), {}) for name, path in models.items()}
    )
    servicer = SuperResolutionServicer(catalog, upscale_picture, max_pixels=max_pixels)
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    return rpc.serve(listen, [servicer], limits)
