"""Crops from a pack against crops cut from PNG files, in random order as a training reads them.

``PNG, from disk`` decodes a level image for every crop: what happens where there are more of them
than fit into memory. ``PNG, in memory`` has them all decoded already. The files are in the system's
cache in all three, so a slow disk is no part of it: there a pack reads only the crop.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from photographs import write_photographs
from timing import medians

from ranksrgan.contracts.images import list_images
from ranksrgan.rankdata.building.build import build
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.crops import CropReader, LevelImages
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.pack import pack
from ranksrgan.rankdata.packed_images import PackedImages

ROUNDS = 5
READS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", type=Path, metavar="DIR", help="images instead of scikit-image's")
    parser.add_argument("--images", type=int, default=12, metavar="N", help="take so many of them")
    parser.add_argument("--crop", type=int, default=296)
    parser.add_argument("--stride", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.hr is None:
            write_photographs(folder / "hr")
        else:
            for path in islice(list_images(arguments.hr), arguments.images):
                (folder / "hr").mkdir(exist_ok=True)
                (folder / "hr" / path.name).symlink_to(path.resolve())
        compare(folder, arguments.crop, arguments.stride)


def compare(folder: Path, crop: int, stride: int) -> None:
    build(
        BuildConfig(
            hr=folder / "hr",
            output=folder / "ranks",
            levels={"bicubic": "bicubic", "hr": "hr"},
            metric="psnr",
            crop=crop,
            stride=stride,
        )
    )
    dataset = RankDataset.open(folder / "ranks")
    began = time.perf_counter()
    index = pack(dataset.folder)
    seconds = time.perf_counter() - began
    images = list(dataset.folder.glob("levels/*/*.png"))
    stored = sum(path.stat().st_size for path in images)
    wanted = [(level, content) for content in dataset.contents for level in content.levels]
    print(
        f"{len(wanted)} crops of {crop} x {crop} from {len(images)} level images: "
        f"{stored / 1e6:.1f} MB as PNG, {index.bytes / 1e6:.1f} MB packed in {seconds:.1f} s"
    )
    readers: dict[str, CropReader] = {
        "PNG, from disk": LevelImages(dataset, capacity=0),
        "PNG, in memory": LevelImages(dataset, capacity=2**40),
        "pack": PackedImages(dataset),
    }
    for level, content in wanted:
        crops = [reader.crop(level, content) for reader in readers.values()]
        if not all(torch.equal(crops[0], other) for other in crops[1:]):
            raise SystemExit(f"{content.name} at level {level} differs")
    print("equal to the bit")
    chosen = random.Random(0).choices(wanted, k=READS)
    times = medians(
        {name: reading(reader, chosen) for name, reader in readers.items()}, rounds=ROUNDS
    )
    print(f"{'crops':<16}{'ms a crop':>10}{'crops / s':>11}{'times':>8}")
    for name, total in times.items():
        ratio = times["PNG, from disk"] / total
        print(f"{name:<16}{1e3 * total / READS:>10.3f}{READS / total:>11.0f}{ratio:>8.1f}")


def reading(reader: CropReader, wanted: list[tuple[str, Content]]) -> Callable[[], None]:
    def read() -> None:
        for level, content in wanted:
            reader.crop(level, content)

    return read


if __name__ == "__main__":
    main()
