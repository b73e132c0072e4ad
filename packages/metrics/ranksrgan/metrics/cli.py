"""The command ``ranksrgan-metrics``: score images, list the metrics, serve them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.console import add_serve_flags, run, serve_options, whole_number
from ranksrgan.metrics.catalog import METRICS, MetricCatalog, create_scorer
from ranksrgan.metrics.luma import CONVENTIONS
from ranksrgan.metrics.report import FORMATS, References, score_files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module `ranksrgan.contracts.console` for exit codes."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return run(lambda: command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ranksrgan-metrics", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    score = commands.add_parser("score", help="score images and folders of images")
    score.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a file or a folder")
    score.add_argument(
        "--reference",
        type=Path,
        metavar="PATH",
        help="the original: one file for all images, or a folder with the same names (suffixes "
        "may differ)",
    )
    score.add_argument(
        "--metric",
        type=_metrics,
        default=["niqe"],
        metavar="NAME,...",
        help=f"of {', '.join(METRICS)} (default: niqe)",
    )
    score.add_argument(
        "--border",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="pixels to leave out on every side (default: 0; tables of x4 use 4)",
    )
    score.add_argument(
        "--luma",
        choices=CONVENTIONS,
        default="y",
        help="y: rgb2ycbcr as in PIRM (default); gray: rgb2gray as in the NIQE release",
    )
    score.add_argument("--format", choices=tuple(FORMATS), default="table", help="default: table")
    score.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    score.set_defaults(command=_score, usage_error=score.error)

    listing = commands.add_parser("list", help="list the metrics")
    listing.set_defaults(command=_list)

    serve = commands.add_parser("serve", help="answer ScoringService over gRPC")
    add_serve_flags(serve)
    serve.set_defaults(command=_serve)
    return parser


def _score(arguments: argparse.Namespace) -> int:
    scorers = {
        name: create_scorer(name, arguments.border, arguments.luma) for name in arguments.metric
    }
    wanting = [name for name, scorer in scorers.items() if scorer.info.needs_reference]
    if wanting and arguments.reference is None:
        arguments.usage_error(f"{', '.join(wanting)}: --reference is needed")
    references = References(arguments.reference) if arguments.reference else None

    report = score_files(arguments.images, scorers, references)
    text = FORMATS[arguments.format](report)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        atomic.write_text(arguments.output, text)
    return 1 if report.failed else 0


def _list(arguments: argparse.Namespace) -> int:
    print(f"{'name':<8}{'better':<8}{'reference':<11}smallest side")
    for info in MetricCatalog().infos():
        better = "higher" if info.higher_is_better else "lower"
        reference = "needed" if info.needs_reference else "none"
        print(f"{info.name:<8}{better:<8}{reference:<11}{info.min_side}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.metrics.server import serve

    return serve(arguments.listen, **serve_options(arguments))


def _metrics(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in METRICS:
            raise argparse.ArgumentTypeError(
                f"there is no metric {name!r}: choose from {', '.join(METRICS)}"
            )
    return names


if __name__ == "__main__":
    sys.exit(main())
