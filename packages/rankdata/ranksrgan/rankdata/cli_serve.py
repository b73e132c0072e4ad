"""``ranksrgan-rankdata serve``: rank datasets over gRPC."""

from __future__ import annotations

import argparse

from ranksrgan.contracts import console
from ranksrgan.rankdata.settings import RankDataServerSettings

_EPILOG = """the data root holds
  datasets/NAME    rank datasets; what clients have built is put there
  images/NAME      folders of images to build from, and of finished results
  models/NAME      generators: NAME.safetensors, NAME.pth or NAME.pt
  generators/NAME  those that the srgan service trains in the same root
  operations/      builds, running and done"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "serve",
        help="build datasets and stream their pairs over gRPC",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    console.add_named_specs(
        parser,
        "--upscaler",
        "a level that clients may ask for by name: weights or a service (grpc://HOST:PORT/MODEL)",
        setting="upscalers",
    )
    parser.add_argument(
        "--builds",
        metavar="N",
        type=console.whole_number(1),
        default=argparse.SUPPRESS,
        help="datasets built at a time (default: 1)",
    )
    console.add_serve_flags(parser, RankDataServerSettings)
    parser.set_defaults(command=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.rankdata.server import serve

    return console.serve(arguments, RankDataServerSettings, serve)
