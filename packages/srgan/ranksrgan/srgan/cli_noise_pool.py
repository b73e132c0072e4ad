"""``ranksrgan-srgan noise-pool``: the flat patches of photographs, whose noise is trained with."""

from __future__ import annotations

import argparse
from pathlib import Path

from ranksrgan.contracts.console import whole_number


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``ranksrgan-srgan``."""
    parser = commands.add_parser(
        "noise-pool",
        help="collect flat patches of photographs, for data.degradation.noise",
        description=(
            "Write the patches of photographs whose grey values hardly vary. A training collects "
            "them by itself at its start; of thousands of photographs it is quicker to do so once."
        ),
    )
    parser.add_argument("photographs", type=Path, metavar="DIR", help="with the noise of the scene")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--patch",
        type=whole_number(1),
        default=256,
        metavar="N",
        help="side in pixels (default: 256)",
    )
    parser.add_argument(
        "--variance",
        type=float,
        default=20.0,
        metavar="V",
        help="of the grey values 0..255, which is to be below it (default: 20)",
    )
    parser.add_argument(
        "--mean",
        type=float,
        default=0.0,
        metavar="M",
        help="of the same, which is to be above it (default: 0; 50 for DPED)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=2,
        metavar="N",
        help="threads that decode (default: 2)",
    )
    parser.set_defaults(command=_collect)


def _collect(arguments: argparse.Namespace) -> int:
    from ranksrgan.srgan.data.noise_pool import Flat, save_pool

    flat = Flat(arguments.patch, arguments.variance, arguments.mean)
    count = save_pool(arguments.photographs, arguments.output, flat, arguments.workers)
    print(f"{arguments.output}: {count} patches")
    return 0
