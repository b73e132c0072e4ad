"""What ScoreGradient costs through shared memory, and as bytes, over the same scorer in process.

The scorer does next to nothing (the mean of each image; its gradient is constant), so that what is
left is the way there and back: 8 images of 3 x 296 x 296 float32, 8 MiB each way. "In place" are
images that lie in shared memory already (`RemoteScorer.empty`). The server is a process of its own.
Exit code 1 if shared memory costs more than 3 ms beyond in process, or more
than a third of what bytes cost.

    python benchmarks/bench_shared_memory.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile

import torch
from timing import medians
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.rpc import Services, serve, wait_until_healthy
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings

SHAPE = (8, 3, 296, 296)
MOST_BEYOND, MOST_OF_BYTES = 3.0, 1 / 3


class Mean:
    """The mean of each image."""

    info = ScorerInfo("mean", "1", True, False, True, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images.flatten(1).mean(dim=1).double()

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.score(images), torch.full_like(images, 1 / images[0].numel())


class Catalog:
    def infos(self) -> list[ScorerInfo]:
        return [Mean.info]

    def open(self, name: str) -> Mean:
        return Mean()


def by_bytes(address: str) -> RemoteScorer:
    """A scorer that takes no offer of shared memory."""
    scorer = connect_scorer(address, "mean")
    scorer._connection.tensors.offered(False)
    return scorer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two teams of threads would wait for each other's cores
    if arguments.serve:
        services = Services([ScoringServicer(Catalog())])
        settings = ServerSettings(listen=arguments.serve)
        return serve(settings, [ScoringServicer.full_name], lambda observers: services)
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/mean.sock"
        server = subprocess.Popen([sys.executable, __file__, "--serve", address])
        try:
            wait_until_healthy(address)
            return compare(address, arguments.rounds)
        finally:
            server.terminate()
            server.wait()


def compare(address: str, rounds: int) -> int:
    images = torch.rand(SHAPE)
    shared = connect_scorer(address, "mean")
    in_place = shared.empty(SHAPE).copy_(images)
    ways = {
        "shared memory": (shared, images),
        "in place": (shared, in_place),
        "bytes": (by_bytes(address), images),
    }
    print(f"ScoreGradient of {' x '.join(map(str, SHAPE))} float32, medians of {rounds}")
    print(f"{'':<16}{'call':>10}{'in process':>13}{'beyond':>10}")
    cost, beyond = {}, {}
    for name, (scorer, batch) in ways.items():
        # Each in turns with the same in process, and not with the other: bytes empty the caches.
        found = medians(
            {
                "local": lambda: Mean().gradient(images),
                name: lambda scorer=scorer, batch=batch: scorer.gradient(batch),
            },
            rounds=rounds,
        )
        cost[name], local = 1e3 * found[name], 1e3 * found["local"]
        beyond[name] = cost[name] - local
        print(f"{name:<16}{cost[name]:>7.2f} ms{local:>10.2f} ms{beyond[name]:>7.2f} ms")
    share = cost["shared memory"] / cost["bytes"]
    print(f"shared memory costs {share:.2f} of bytes")
    return int(beyond["shared memory"] > MOST_BEYOND or share > MOST_OF_BYTES)


if __name__ == "__main__":
    sys.exit(main())
