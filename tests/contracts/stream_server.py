"""A server of models that cost little: ``squares`` makes of each pixel a square of eight by eight,
``lines`` of two by two, and ``network`` is a small one at random, with the reach of its kind.

python stream_server.py unix:PATH
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ranksrgan.contracts.rpc import Services, serve
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
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

    def rows_needed(self, height: int, width: int) -> list[int]:
        return [min(top + 8, height) for top in range(0, height, 8)]


class Lines:
    """Each row becomes two of twice the width, made when the row below it is there too."""

    info = UpscalerInfo("lines", "1", 2, "nearest")

    def __init__(self) -> None:
        self.made = 0

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def upscale_strips(
        self, read_rows: Callable[[int, int], Tensor], height: int, width: int
    ) -> Iterator[Tensor]:
        below = read_rows(0, 1)
        for row in range(height):
            here, below = below, read_rows(row + 1, row + 2) if row + 1 < height else below
            self.made += 1
            yield self.upscale(here)

    def rows_needed(self, height: int, width: int) -> list[int]:
        return [min(row + 2, height) for row in range(height)]


def network() -> GeneratorUpscaler:
    torch.manual_seed(0)
    return GeneratorUpscaler(SRResNet(8, 1, 4), name="network", memory=2**25)


class Catalog:
    def __init__(self) -> None:
        self._models: dict[str, Upscaler] = {
            "squares": Squares(),
            "lines": Lines(),
            "network": network(),
        }

    def infos(self) -> list[UpscalerInfo]:
        return [model.info for model in self._models.values()]

    def open(self, name: str) -> Upscaler:
        return self._models[name]


def main() -> int:
    streams = UpscaleStreams(enlargement_for, RowsEnlargement)
    servicer = SuperResolutionServicer(Catalog(), upscale_picture, streams=streams)
    settings = ServerSettings(listen=sys.argv[1])
    return serve(settings, [servicer.full_name], lambda observers: Services([servicer]))


if __name__ == "__main__":
    sys.exit(main())
