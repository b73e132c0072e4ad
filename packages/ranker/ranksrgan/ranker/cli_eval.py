"""``ranksrgan-ranker eval``: how well scorers follow the metric of a rank dataset."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_files.encoders import SUFFIXES
from ranksrgan.contracts.outputs import DATASET_SUFFIXES, check_output

# In a spec an equals sign comes after a question mark, in a path usually after a slash.
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``eval``."""
    parser = subparsers.add_parser(
        "eval",
        help="agreement with the metric of a rank dataset",
        description=(
            "Score the contents of a rank dataset and compare with its metric: correlations, pairs "
            "in the right order (also of those alone that reverse the usual order of the levels), "
            "the gap of scores, the mean of each level. Several scorers come side by side."
        ),
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the rank dataset")
    parser.add_argument(
        "--ranker",
        required=True,
        action="append",
        dest="rankers",
        metavar="[NAME=]SPEC",
        help="weights (runs/ranker.safetensors?device=cpu), a service "
        "(unix:///run/ranker.sock/NAME, grpc://HOST:PORT/NAME) or any other scorer, and what to "
        "call it (default: SPEC); may be repeated",
    )
    parser.add_argument("--split", default="val", help="to evaluate on (default: val)")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="to compare with (default: the one that orders the dataset's levels)",
    )
    parser.add_argument(
        "--min-gap",
        type=float,
        default=0.0,
        metavar="X",
        help="values of the metric that differ by no more are a tie (default: 0)",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="also write a page with histograms, calibration and the contents ranked worst",
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.compare import as_json, as_table, compare

    specs = named_specs(arguments.rankers)
    check_output(
        "--report",
        arguments.report,
        [arguments.data, *specs.values()],
        read=SUFFIXES | DATASET_SUFFIXES,
    )
    source = open_pair_source(arguments.data, split=arguments.split)
    scorers = {name: open_scorer(spec, pinned=True) for name, spec in specs.items()}
    found = compare(scorers, source, metric=arguments.metric, min_gap=arguments.min_gap)
    if arguments.report is not None:
        from ranksrgan.ranker.report import write_report  # matplotlib takes a while to import

        write_report(arguments.report, found, source)
    sys.stdout.write(as_json(found) if arguments.format == "json" else as_table(found))
    return 0


def named_specs(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=SPEC`` or ``SPEC``, which then is the name too, as a dict.

    Raises:
        InvalidInput: a name is given twice.
    """
    specs: dict[str, str] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        name, spec = match.groups() if match else (text, text)
        if name in specs:
            raise InvalidInput(
                f"--ranker: {name} is there twice; write NAME={spec} to tell them apart",
                field="ranker",
            )
        specs[name] = spec
    return specs
