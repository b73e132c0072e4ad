"""``ranksrgan reproduce``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ranksrgan.contracts import console

if TYPE_CHECKING:
    # What argparse itself calls what `add_subparsers` returns.
    from argparse import _SubParsersAction

#: The exit code if there is more to do: the same command goes on.
UNFINISHED = 3

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def add_reproduce(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "reproduce",
        help="measure claims of the paper: tables, pages and answers",
        description="Runs experiments, or goes on with them. Exit code 3: time ran out; the same "
        "command goes on.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="of experiments/NAME.yaml")
    parser.add_argument(
        "--scale", default="small", help="small (default), gpu, paper, or a YAML file"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=console.whole_number(0),
        default=[0, 1, 2],
        metavar="N",
        help="one run for each (default: 0 1 2)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("../shared/data"),
        metavar="DIR",
        help="the images and weights that experiments/README.md lists (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="takes a folder for each experiment (default: %(default)s)",
    )
    parser.add_argument(
        "--experiments",
        type=Path,
        default=Path("experiments"),
        metavar="DIR",
        help="where NAME.yaml is (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=console.whole_number(1),
        default=1,
        metavar="N",
        help="trainings at once (default: 1)",
    )
    parser.add_argument(
        "--time-limit", type=_seconds, metavar="9m", help="stop then, so that nothing is lost"
    )
    parser.add_argument(
        "--initial",
        type=Path,
        metavar="FILE",
        help="weights of an SRResNet to start from, or the name of what ships (srresnet, srgan)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="of the scale, such as steps.generator=1000; may be repeated",
    )
    parser.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.reproduction.reproduce import Request, reproduce
    from ranksrgan.pipeline.reproduction.table import as_text

    request = Request(
        names=tuple(arguments.names),
        experiments=arguments.experiments,
        scale=arguments.scale,
        settings=tuple(arguments.settings),
        seeds=tuple(arguments.seeds),
        data=arguments.data,
        output=arguments.output,
        jobs=arguments.jobs,
        seconds=arguments.time_limit,
        initial=arguments.initial,
    )
    done = reproduce(request, lambda line: print(line, flush=True))
    for name, findings in done.findings.items():
        print(f"\n{as_text(findings)}\n\n{request.output / name}")
    for reason in done.failed:
        print(f"error: {reason}", file=sys.stderr)
    if done.failed:
        return 1
    if done.stopped:
        print("not finished; the same command goes on from here", file=sys.stderr)
        return UNFINISHED
    return 0


def _seconds(text: str) -> float:
    """``540``, ``9m``, ``1h30m``."""
    found = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise argparse.ArgumentTypeError(f"{text} is no duration such as 90s, 9m or 1h30m")
    return float(total)
