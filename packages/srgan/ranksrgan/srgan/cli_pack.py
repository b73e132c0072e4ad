"""``ranksrgan-srgan pack``: images in a form that crops are read from fast."""

from __future__ import annotations

import argparse
from pathlib import Path

from ranksrgan.contracts.console import whole_number


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``ranksrgan-srgan``."""
    parser = commands.add_parser(
        "pack", help="pack a folder of images into LMDB, to train from it as data.hr or data.lr"
    )
    parser.add_argument("images", type=Path, metavar="DIR", help="HR or LR images")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=2,
        metavar="N",
        help="threads that decode (default: 2)",
    )
    parser.set_defaults(command=_pack)


def _pack(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ranksrgan.srgan.data.packed_images import pack

    with tqdm(unit="image", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        index = pack(
            arguments.images, arguments.output, workers=arguments.workers, progress=progress
        )
    print(f"{arguments.output}: {len(index.images)} images, {index.bytes / 1e6:.1f} MB")
    return 0
