"""``ranksrgan-rankdata``: build rank datasets and look into them."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ranksrgan.contracts import console
from ranksrgan.contracts.config import load_config
from ranksrgan.rankdata.build import Progress, build, describe_losses
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.inspect import DatasetReport, plot_histogram, summarise
from ranksrgan.rankdata.manifest import scorer_facts

# The flags that are configuration keys.
_FLAGS = (
    "hr",
    "output",
    "metric",
    "scale",
    "crop",
    "stride",
    "min_sharpness",
    "val",
    "test",
    "seed",
)

_LEVELS_HELP = """a level is one of
  NAME=hr                        the original
  NAME=bicubic                   MATLAB's bicubic
  NAME=weights.safetensors       a generator's weights
  NAME=grpc://HOST:PORT/MODEL    a service
  NAME=FOLDER                    finished results, matched by file stem
  NAME=interpolate:OTHER:0.5     0.5 * OTHER + 0.5 * original, OTHER an earlier level"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "build":
        if arguments.config is None:
            needed = {"--hr": arguments.hr, "--level": arguments.level, "-o": arguments.output}
            missing = [flag for flag, value in needed.items() if not value]
            if missing and not arguments.overrides:
                parser.error(f"build needs {', '.join(missing)}, or --config FILE")
        return console.run(lambda: _build(arguments))
    return console.run(lambda: _inspect(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ranksrgan-rankdata", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser(
        "build",
        help="build a dataset",
        epilog=_LEVELS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    make.add_argument("--hr", metavar="DIR", help="high-resolution images")
    make.add_argument(
        "--level", metavar="NAME=SPEC", nargs="+", action="extend", type=_level, default=[]
    )
    make.add_argument("--metric", metavar="SPEC", help="what labels the crops (niqe?border=4)")
    make.add_argument("-o", "--output", metavar="DIR", help="the dataset's folder")
    make.add_argument("--scale", type=int, help="HR side over LR side (4)")
    make.add_argument("--crop", type=int, help="side of a crop in pixels (296)")
    make.add_argument("--stride", type=int, help="step between crops (200)")
    make.add_argument("--min-sharpness", type=float, help="drop flatter crops (0: drop none)")
    make.add_argument("--val", type=float, help="share of the images for validation (0.1)")
    make.add_argument("--test", type=float, help="share of the images for testing (0)")
    make.add_argument("--seed", type=int, help="of the split (0)")
    make.add_argument("--config", metavar="FILE", type=Path, help="YAML; flags override it")
    make.add_argument("--force", action="store_true", help="replace a dataset that is there")
    make.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="any configuration key; overrides the flags",
    )
    look = commands.add_parser("inspect", help="show what a dataset holds")
    look.add_argument("dataset", metavar="DIR", type=Path)
    look.add_argument("--histogram", metavar="FILE.png", type=Path)
    look.add_argument("--format", choices=("table", "json"), default="table")
    look.add_argument("--check", action="store_true", help="compare the hash of every image")
    return parser


def _level(text: str) -> tuple[str, str]:
    name, separator, spec = text.partition("=")
    if not (name and separator and spec):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=SPEC")
    return name, spec


def _build(arguments: argparse.Namespace) -> int:
    # JSON is YAML: no path or spec is mistaken for a number or a list.
    flags = [
        f"{key}={json.dumps(value)}"
        for key in _FLAGS
        if (value := getattr(arguments, key)) is not None
    ]
    flags += [f"levels.{name}={json.dumps(spec)}" for name, spec in arguments.level]
    config = load_config(BuildConfig, arguments.config, [*flags, *arguments.overrides])
    with _progress_bar() as progress:
        summary = build(config, overwrite=arguments.force, progress=progress)
    for split, crops in summary.crops.items():
        print(f"{split}: {crops} crops of {summary.sources[split]} images")
    losses = describe_losses(summary.counts)
    if losses:
        print(f"dropped: {losses}")
    print(f"{len(summary.levels)} levels labelled by {summary.metric.name} in {summary.folder}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    dataset = RankDataset.open(arguments.dataset, check_hashes=arguments.check)
    report = summarise(dataset)
    if arguments.histogram is not None:
        plot_histogram(dataset, arguments.histogram)
    if arguments.format == "json":
        print(json.dumps(_as_json(report), indent=2, allow_nan=False))
    else:
        print("\n".join(_as_table(report)))
    return 0


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
        "counts": report.counts.model_dump(),
    }


def _as_table(report: DatasetReport) -> Iterator[str]:
    better = "higher" if report.metric.higher_is_better else "lower"
    yield f"metric: {report.metric.name} ({better} is better)"
    yield f"{'split':<16}{'images':>8}{'crops':>8}"
    for name, split in report.splits.items():
        yield f"{name:<16}{split.sources:>8}{split.crops:>8}"
    yield f"{'level':<16}{'crops':>8}{'mean':>10}{'wins':>8}"
    for name, level in report.levels.items():
        yield f"{name:<16}{level.crops:>8}{level.mean:>10.4f}{level.wins:>8.1%}"
    if report.ties:
        yield f"ties for best: {report.ties:.1%} of the crops, shared equally"
    losses = describe_losses(report.counts)
    if losses:
        yield f"dropped: {losses}"


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar with the time left on standard error, silent where that is no terminal."""
    with tqdm(unit="level", file=sys.stderr, disable=None) as bar:

        def progress(done: int, total: int, source: str) -> None:
            bar.total = total
            bar.set_postfix_str(source, refresh=False)
            bar.update(done - bar.n)

        yield progress


if __name__ == "__main__":
    raise SystemExit(main())
