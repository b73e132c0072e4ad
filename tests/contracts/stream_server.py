"""A server whose model costs next to nothing: each pixel becomes a square of eight by eight.

python stream_server.py unix:PATH
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from torch import Tensor

from ranksrgan.contracts.rpc import Services, serve
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.rows import RowsEnlargement

SCALE = 8


class Squares:
    """An upscaler of images and of strips."""

    info = UpscalerInfo("squares", "1", SCALE, "nearest")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)

    def upscale_strips(
        self, read_rows: Callable[[int, int], Tensor], height: int, width: int
    ) -> Iterator[Tensor]:
        for top in range(0, height, 8):
            yield self.upscale(read_rows(top, min(top + 8, height)))


class Catalog:
    def infos(self) -> list[UpscalerInfo]:
        return [Squares.info]

    def open(self, name: str) -> Squares:
        return Squares()


def main() -> int:
    streams = UpscaleStreams(enlargement_for, RowsEnlargement)
    servicer = SuperResolutionServicer(Catalog(), upscale_picture, streams=streams)
    settings = ServerSettings(listen=sys.argv[1])
    return serve(settings, [servicer.full_name], lambda observers: Services([servicer]))


if __name__ == "__main__":
    sys.exit(main())
