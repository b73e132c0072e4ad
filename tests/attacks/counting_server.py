"""A server that writes a line for each request that it begins: ``counting_server.py ADDRESS``."""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from ranksrgan.contracts.rpc import Services, serve
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings


class Counting:
    """Takes its time, so that requests wait for it."""

    info = ScorerInfo("counting", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        time.sleep(0.02)
        return images.double().flatten(1).mean(1)


class Catalog:
    """Of one scorer."""

    def infos(self) -> list[ScorerInfo]:
        return [Counting.info]

    def open(self, name: str) -> Counting:
        return Counting()


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = ServerSettings(listen=sys.argv[1], grace=60)
    services = Services([ScoringServicer(Catalog())])
    raise SystemExit(serve(settings, [ScoringServicer.full_name], lambda observers: services))
