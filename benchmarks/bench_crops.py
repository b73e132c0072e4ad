"""Samples per second of every kind of training data against the training step that eats them.

The step is SRResNet's (16 blocks, 64 channels, L1, Adam) on crops of 128. ``samples / s`` is what
``--workers`` threads make while nothing else runs, and ``times a step`` how often over that would
feed the training; ``CPU ms`` is the time of all threads for one sample, which other load on the
machine changes less. ``fed step`` is a step beside those threads, which share its cores, relative
to one on a batch that lies ready: 1.00 where the data costs nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import torch
from photographs import write_photographs

from ranksrgan.contracts.device import choose_device, computes_in_bfloat16, mixed, place
from ranksrgan.contracts.images import from_tensor, list_images, write_image
from ranksrgan.srgan.config import DataConfig
from ranksrgan.srgan.data.crops import Batch, CropSource, read_photograph
from ranksrgan.srgan.data.degradation import SecondOrder
from ranksrgan.srgan.data.packed_images import pack
from ranksrgan.srgan.generators.srresnet import SRResNet

SCALE = 4
CROP = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", type=Path, metavar="DIR", help="images instead of scikit-image's")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="take so many of them")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="in a measurement of fed steps")
    parser.add_argument("--batches", type=int, default=24, help="made in each measurement")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sources = open_sources(Path(scratch), given)
        compare(sources, given)


def open_sources(folder: Path, given: argparse.Namespace) -> dict[str, CropSource]:
    hr, lr = folder / "hr", folder / "lr"
    hr.mkdir()
    lr.mkdir()
    if given.hr is None:
        write_photographs(hr)
    else:
        for path in islice(list_images(given.hr), given.images):
            (hr / path.name).symlink_to(path.resolve())
    for path in list_images(hr):
        photograph = read_photograph(path, SCALE)
        write_image(lr / f"{path.stem}x{SCALE}.png", from_tensor(photograph.lr))
    began = time.perf_counter()
    size = pack(hr, folder / "hr.pack").bytes
    seconds = time.perf_counter() - began
    pack(lr, folder / "lr.pack")
    stored = sum(path.stat().st_size for path in list_images(hr))
    print(f"{stored / 1e6:.1f} MB of images, {size / 1e6:.1f} MB packed in {seconds:.1f} s")

    def source(hr: Path, **options: Any) -> CropSource:
        data = DataConfig(hr=hr, crop=CROP, batch=given.batch, workers=given.workers, **options)
        return CropSource(data, scale=SCALE, seed=0)

    return {
        "folder, decoded each time": source(hr, memory_mib=0),
        "folder, in memory": source(hr),
        "pairs, in memory": source(hr, lr=lr),
        "pack": source(folder / "hr.pack"),
        "pairs of packs": source(folder / "hr.pack", lr=folder / "lr.pack"),
        "second order, in memory": source(hr, degradation=SecondOrder()),
        "second order, pack": source(folder / "hr.pack", degradation=SecondOrder()),
    }


def compare(sources: dict[str, CropSource], given: argparse.Namespace) -> None:
    device = choose_device(given.device)
    bfloat16 = computes_in_bfloat16("auto", device)
    step = training_step(device, bfloat16)
    ready = next(iter(sources.values())).batch(1)

    def steps(batches: Iterator[Batch]) -> None:
        for batch in batches:
            step(batch)

    steps(repeat(ready, 1))  # warm up
    began, began_cpu = time.perf_counter(), time.process_time()
    steps(repeat(ready, given.steps))
    eaten = given.batch * given.steps / (time.perf_counter() - began)
    step_cpu = (time.process_time() - began_cpu) / (given.batch * given.steps)
    print(
        f"training step: batch {given.batch}, {device}, {'bfloat16' if bfloat16 else 'float32'}, "
        f"{torch.get_num_threads()} threads: {eaten:.1f} samples / s, CPU ms {1e3 * step_cpu:.1f}"
    )
    print(f"{'data':<27}{'samples / s':>12}{'times a step':>14}{'CPU ms':>8}{'fed step':>10}")
    for name, source in sources.items():
        began, began_cpu = time.perf_counter(), time.process_time()
        made = given.batch * sum(1 for _ in source.batches(1, given.batches))
        rate = made / (time.perf_counter() - began)
        cpu = (time.process_time() - began_cpu) / made
        # The bare step again beside it, since the machine may have got slower meanwhile.
        began = time.perf_counter()
        steps(repeat(ready, given.steps))
        between = time.perf_counter()
        with closing(source.batches(1, 10**6)) as batches:  # type: ignore[type-var]
            steps(islice(batches, given.steps))
            fed = (time.perf_counter() - between) / (between - began)
        print(f"{name:<27}{rate:>12.0f}{rate / eaten:>14.1f}{1e3 * cpu:>8.1f}{fed:>10.2f}")


def training_step(device: torch.device, bfloat16: bool) -> Callable[[Batch], None]:
    network = place(SRResNet(64, 16, SCALE), device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)

    def step(batch: Batch) -> None:
        lr, hr = (
            image.to(device).to(torch.float32, memory_format=torch.channels_last) / 255
            for image in batch
        )
        with mixed(bfloat16, device):
            sr = network(lr)
        loss = (sr.float() - hr).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()  # waits for the device, as a training that reads its losses does

    return step


if __name__ == "__main__":
    main()
