"""``ranksrgan-srgan convert`` and ``interpolate``: weights files made of weights files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ranksrgan.contracts.outputs import check_output

FORMS = ("official", "official-old", "basicsr")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands, each with the function that does it."""
    convert = subparsers.add_parser(
        "convert",
        help="weights of other projects to .safetensors, and back",
        description=(
            "Read the weights of a generator or discriminator, ours or another project's, and "
            "write them as .safetensors with architecture and options, or as a .pth that the "
            "original code loads. No number changes, unless --half says so."
        ),
    )
    convert.add_argument(
        "input",
        type=Path,
        metavar="IN",
        help=".safetensors, .pth, .pt, or a shipped one's name",
    )
    convert.add_argument("output", type=Path, metavar="OUT", help=".safetensors, .pth or .pt")
    convert.add_argument(
        "--to",
        choices=FORMS,
        metavar="FORM",
        help=(
            "whose names of layers a .pth gets: official (the authors' code; default where there "
            "is one), official-old (its first generation, model.N), basicsr (under params)"
        ),
    )
    convert.add_argument(
        "--scale",
        type=int,
        choices=(1, 2, 3, 4),
        help="of a generator whose tensors do not tell (FSRCNN, RRDBNet with one upconv; 1 for a "
        "two-view network of CameraSR)",
    )
    convert.add_argument(
        "--half",
        action="store_true",
        help="kernels in float16, for a .safetensors of half the size: how ours are shipped",
    )
    convert.set_defaults(command=_convert)

    interpolate = subparsers.add_parser(
        "interpolate",
        help="the generator between two",
        description=(
            "Write the generator whose weights are (1 - alpha) A + alpha B. Both have to be of one "
            "architecture and size."
        ),
    )
    interpolate.add_argument("a", type=Path, metavar="A", help="weights; the result at alpha 0")
    interpolate.add_argument("b", type=Path, metavar="B", help="weights; the result at alpha 1")
    interpolate.add_argument("--alpha", type=float, required=True, help="from 0 to 1")
    interpolate.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .safetensors file"
    )
    interpolate.set_defaults(command=_interpolate)


def _convert(arguments: argparse.Namespace) -> int:
    from ranksrgan.srgan.conversion import convert

    check_output("OUT", arguments.output, [arguments.input])
    network = convert(
        arguments.input, arguments.output, arguments.to, arguments.scale, half=arguments.half
    )
    print(f"{arguments.output}: {network}")
    return 0


def _interpolate(arguments: argparse.Namespace) -> int:
    from ranksrgan.srgan.conversion import interpolate_files

    check_output("-o", arguments.output, [arguments.a, arguments.b])
    network = interpolate_files(arguments.a, arguments.b, arguments.alpha, arguments.output)
    print(f"{arguments.output}: {network}, {arguments.alpha:g} of the way from A to B")
    return 0
