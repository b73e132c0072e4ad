"""``ranksrgan-srgan models``: what there is to enlarge with, here or at a service."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; `run` does it."""
    parser = subparsers.add_parser(
        "models",
        help="list the models that came with this package, or those of a service",
        description="List models: name, scale, architecture, and where the model card is.",
    )
    parser.add_argument(
        "service",
        nargs="?",
        metavar="SERVICE",
        help="grpc://HOST:PORT or unix:///PATH.sock (default: this package)",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what the parsed command line says."""
    from ranksrgan.contracts.discovery import list_upscalers, open_upscaler
    from ranksrgan.srgan.shipped import SHIPPED

    if arguments.service is None:
        infos = [open_upscaler(name).info for name in SHIPPED.names]
    else:
        infos = list_upscalers(arguments.service)
    width = max((len(info.name) for info in infos), default=0)
    for info in infos:
        where = SHIPPED.card(info.name) if arguments.service is None else ""
        print(f"{info.name:<{width}}  x{info.scale}  {info.architecture}  {where}".rstrip())
    return 0
