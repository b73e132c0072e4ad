"""``ranksrgan-rankdata``: build rank datasets, look into them, pack and serve them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ranksrgan.contracts import console
from ranksrgan.rankdata import cli_analysis, cli_build, cli_inspect, cli_remote, cli_serve

# Each has `add_parser(commands)`, which adds a subcommand and sets its function as `command`.
_SUBCOMMANDS = (cli_build, cli_inspect, cli_serve, cli_remote)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module `ranksrgan.contracts.console` for exit codes."""
    parser = argparse.ArgumentParser(
        prog="ranksrgan-rankdata",
        description="Build rank datasets, look into them, pack and serve them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subcommand in _SUBCOMMANDS:
        subcommand.add_parser(commands)
    cli_analysis.add_commands(commands)
    arguments = console.parse(parser, argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return console.run(lambda: command(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
