"""``ranksrgan-rankdata inspect``: show what a dataset holds."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranksrgan.contracts.outputs import DATASET_SUFFIXES, check_output
from ranksrgan.rankdata.building.assemble import describe_losses
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.duplicates import Leaks, leaks
from ranksrgan.rankdata.inspect import DatasetReport, plot_histogram, summarise
from ranksrgan.rankdata.manifest import LEVELS, scorer_facts

# Of the orders in which levels come, the most frequent ones.
_ORDERS = 6


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("inspect", help="show what a dataset holds")
    parser.add_argument("dataset", metavar="DIR", type=Path)
    parser.add_argument("--histogram", metavar="FILE.png", type=Path)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--check", action="store_true", help="compare the hash of every image")
    parser.add_argument(
        "--leaks", action="store_true", help="look for near-duplicates in two splits"
    )
    parser.set_defaults(command=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    folder, picture = arguments.dataset, arguments.histogram
    check_output("--histogram", picture, [folder], read=DATASET_SUFFIXES)
    check_output("--histogram", picture, [folder / LEVELS])  # a histogram may lie beside them
    dataset = RankDataset.open(folder, check_hashes=arguments.check)
    report = summarise(dataset)
    if picture is not None:
        plot_histogram(dataset, picture)
    found = leaks(dataset) if arguments.leaks else None
    if arguments.format == "json":
        content = _as_json(report) | ({} if found is None else {"leaks": _leaks_json(found)})
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        checked = ["every image has the hash that is recorded"] if arguments.check else []
        leaked = () if found is None else _leaks_table(found)
        print("\n".join([*_as_table(report), *checked, *leaked]))
    return 1 if found else 0


def _as_json(report: DatasetReport) -> dict[str, Any]:
    levels = {name: asdict(level) for name, level in report.levels.items()}
    for level in levels.values():
        if not math.isfinite(level["mean"]):  # PSNR of the original; JSON has no infinity
            level["mean"] = None
    return {
        "metric": scorer_facts(report.metric),
        "splits": {name: asdict(split) for name, split in report.splits.items()},
        "levels": levels,
        "ties": report.ties,
        "orders": {str(order): order.crops for order in report.orders},
        "counts": report.counts.model_dump(),
    }


def _as_table(report: DatasetReport) -> Iterator[str]:
    better = "higher" if report.metric.higher_is_better else "lower"
    yield f"metric: {report.metric.name} ({better} is better)"
    counted = f"{'patches':>8}" if report.patches else f"{'images':>8}{'crops':>8}"
    yield f"{'split':<16}{counted}"
    for name, split in report.splits.items():
        images = "" if report.patches else f"{split.sources:>8}"
        yield f"{name:<16}{images}{split.crops:>8}"
    yield f"{'level':<16}{'crops':>8}{'mean':>10}{'wins':>8}"
    for name, level in report.levels.items():
        yield f"{name:<16}{level.crops:>8}{level.mean:>10.4f}{level.wins:>8.1%}"
    if report.ties:
        yield f"ties for best: {report.ties:.1%} of the crops, shared equally"
    for order in report.orders[:_ORDERS]:
        yield f"order {order}: {order.share:.1%} of the crops"
    if len(report.orders) > _ORDERS:
        yield f"and {len(report.orders) - _ORDERS} other orders"
    losses = describe_losses(report.counts)
    if losses:
        yield f"dropped: {losses}"


def _leaks_json(found: Leaks) -> dict[str, Any]:
    return {"sources": found.sources, "duplicates": [dict(group) for group in found.duplicates]}


def _leaks_table(found: Leaks) -> Iterator[str]:
    for source in found.sources:
        yield f"leak: {source} is in two splits"
    for group in found.duplicates:
        where = ", ".join(f"{source} ({split})" for source, split in group.items())
        yield f"leak: these look alike: {where}"
    if not found:
        yield "no leak between the splits"
