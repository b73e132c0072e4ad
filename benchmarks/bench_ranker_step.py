"""A step of a Ranker's training on a rank dataset against the bare network on the same batch.

The data path (crops, shuffling, batches, views) must not be what waits: the ratio is that of the
time of a whole step to forward, backward and Adam's update on a batch that lies ready.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import skimage.data
import torch
from torch import nn

from ranksrgan.contracts import heaps
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16, mixed, place
from ranksrgan.contracts.discovery import open_pair_source
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.ranker import VGG, TrainConfig, train
from ranksrgan.ranker.batches import read_batches
from ranksrgan.ranker.objective import objective

PHOTOGRAPHS = ("astronaut", "coffee", "rocket", "chelsea", "cat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--contents", type=int, default=4, help="a batch, three versions each")
    parser.add_argument("--steps", type=int, default=8, help="after two to warm up")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    heaps.keep_for_a_command()  # as the command that trains does
    with tempfile.TemporaryDirectory() as scratch:
        source = open_pair_source(str(_dataset(Path(scratch))), split="train")
        config = TrainConfig.model_validate(
            {
                "architecture": f"vgg{given.depth}",
                "width": given.width,
                "batch": given.contents,
                "steps": given.steps + 2,
                "device": given.device,
                "validate_every": 10**6,
                "save_every": 10**6,
            }
        )
        moments: list[float] = []
        train(
            config,
            source,
            None,
            Path(scratch) / "run",
            on_step=lambda step, loss: moments.append(time.perf_counter()),
        )
        # Without the first two and the last, which also saves.
        whole = [after - before for before, after in pairwise(moments[1:-1])]
        bare = _bare(config, next(read_batches(source, config, start=0)), given.steps)
    print(f"VGG-{given.depth} of width {given.width}, {3 * given.contents} images of 296 x 296")
    print(f"bare network    {1e3 * statistics.median(bare):>10.1f} ms a step")
    print(f"training        {1e3 * statistics.median(whole):>10.1f} ms a step")
    print(f"ratio           {statistics.median(whole) / statistics.median(bare):>10.2f}")


def _bare(config: TrainConfig, batch: tuple[torch.Tensor, ...], steps: int) -> list[float]:
    device = choose_device(config.device)
    bfloat16 = computes_in_bfloat16(config.precision, device)
    network: nn.Module = place(VGG(int(config.architecture[3:]), config.width), device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    images, values, group = (part.to(device) for part in batch)
    times = []
    for _ in range(steps + 2):
        began = time.perf_counter()
        with mixed(bfloat16, device):
            scores = network(images)
        loss = objective(config, scores[:, None], values, group)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()  # waits for a GPU
        times.append(time.perf_counter() - began)
    return times[2:]


def _dataset(scratch: Path) -> Path:
    """Photographs at three blurs, ordered by strength: the metric's cost is none of this."""
    for name in PHOTOGRAPHS:
        pixels = np.tile(getattr(skimage.data, name)(), (2, 2, 1))[:592, :740]
        write_image(scratch / "photographs" / f"{name}.png", Picture(pixels))
    config = BuildConfig(
        hr=scratch / "photographs",
        output=scratch / "ranks",
        levels={"sharp": "blur:0.5", "soft": "blur:1", "softer": "blur:2"},
        label="order",
        stride=74,
        val=0.2,
    )
    return build(config).folder


if __name__ == "__main__":
    main()
