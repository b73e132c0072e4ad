"""``ranksrgan-rankdata build``: build a dataset, or go on with one."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tqdm import tqdm

from ranksrgan.contracts.console import add_settings, whole_number
from ranksrgan.rankdata.building.assemble import describe_losses
from ranksrgan.rankdata.building.build import Progress, build
from ranksrgan.rankdata.building.executors import EXECUTORS
from ranksrgan.rankdata.config import WHOLE, load_recipe, recipe_names

_EPILOG = """a level is one of
  NAME=hr                        the original
  NAME=bicubic                   MATLAB's bicubic
  NAME=weights.safetensors       a generator's weights, or the name of a shipped one (srgan)
  NAME=grpc://HOST:PORT/MODEL    a service
  NAME=FOLDER                    finished results, matched by file stem
  NAME=interpolate:OTHER:0.5     0.5 * OTHER + 0.5 * original
  NAME=blur:2                    Gaussian blur of the original, 2 pixels wide
  NAME=noise:15                  white Gaussian noise of that deviation on 0..255
  NAME=jpeg:30                   JPEG of that quality
  NAME=blur:2:OTHER              the same of OTHER instead of the original; noise and jpeg likewise

When a build was stopped, the same command goes on where it stood."""

# The flags that are configuration keys.
_KEYS = (
    *("hr", "output", "label", "metric", "further", "scale", "crop", "stride", "sources"),
    *("min_sharpness", "max_crops", "val", "test", "seed"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "build",
        help="build a dataset, or go on with one",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    positive = whole_number(1)
    add("--hr", metavar="DIR", help="high-resolution images")
    add("--level", metavar="NAME=SPEC", nargs="+", action="extend", type=_level, default=[])
    add("-o", "--output", metavar="DIR", help="the dataset's folder")
    add("--metric", metavar="SPEC", help="what labels the crops (niqe?border=4)")
    add("--label", choices=("metric", "order"), help="order: levels are listed from best to worst")
    add(
        "--further",
        metavar="SPEC",
        nargs="+",
        action="extend",
        help="metrics to store beside the label",
    )
    add("--scale", type=int, metavar="N", help="HR side over LR side (4)")
    add("--crop", type=_crop, metavar="N|whole", help="side of a crop, or whole images (296)")
    add("--stride", type=int, metavar="N", help="step between crops (200)")
    add("--sources", type=int, metavar="N", help="take so many of the images (all)")
    add("--min-sharpness", type=float, metavar="X", help="drop flatter crops (0: drop none)")
    add("--max-crops", type=int, metavar="N", help="keep so many crops of an image (all)")
    add("--val", type=float, metavar="X", help="share of the images for validation (0.1)")
    add("--test", type=float, metavar="X", help="share of the images for testing (0)")
    add("--seed", type=int, metavar="N", help="of split, noise and choices (0)")
    add(
        "--recipe",
        metavar="NAME|FILE",
        help=f"{', '.join(recipe_names())}, or a .yaml file; flags override it",
    )
    add(
        "--executor",
        choices=EXECUTORS,
        default="local",
        help="where the work is done; the dataset is the same (local)",
    )
    add("--workers", type=positive, metavar="N", help="processes or Ray actors (one for each CPU)")
    add(
        "--force",
        action="store_true",
        help="replace a dataset that is there once the new one is complete, and discard an "
        "unfinished one with other settings (one with these is continued)",
    )
    add_settings(parser, "overrides", "any configuration key; overrides the flags")
    parser.set_defaults(command=partial(_build, parser))


def _level(text: str) -> tuple[str, str]:
    name, separator, spec = text.partition("=")
    if not (name and separator and spec):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=SPEC")
    return name, spec


def _crop(text: str) -> int | str:
    return text if text == WHOLE else whole_number(1)(text)


def _build(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    needed = {"--hr": arguments.hr, "--level": arguments.level, "-o": arguments.output}
    missing = [flag for flag, value in needed.items() if not value]
    if missing and arguments.recipe is None and not arguments.overrides:
        parser.error(f"build needs {', '.join(missing)}, or --recipe NAME|FILE")
    for name, count in Counter(name for name, _ in arguments.level).items():
        if count > 1:
            parser.error(f"--level {name}=... is given {count} times")
    # JSON is YAML: no path or spec is mistaken for a number or a list.
    flags = [
        f"{key}={json.dumps(value)}"
        for key in _KEYS
        if (value := getattr(arguments, key)) is not None
    ]
    flags += [f"levels.{name}={json.dumps(spec)}" for name, spec in arguments.level]
    config = load_recipe(arguments.recipe, [*flags, *arguments.overrides])
    with _progress_bar() as progress:
        summary = build(
            config,
            executor=arguments.executor,
            workers=arguments.workers,
            overwrite=arguments.force,
            progress=progress,
        )
    for split, crops in summary.crops.items():
        print(f"{split}: {crops} crops of {summary.sources[split]} images")
    losses = describe_losses(summary.counts)
    if losses:
        print(f"dropped: {losses}")
    for group in summary.duplicates:
        print(f"near-duplicates, in one split: {', '.join(group)}")
    print(f"{len(summary.levels)} levels labelled by {summary.metric.name} in {summary.folder}")
    return 0


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar with the time left on standard error, silent where that is no terminal."""
    with tqdm(unit="level", file=sys.stderr, disable=None) as bar:

        def progress(done: int, total: int, source: str) -> None:
            bar.total = total
            bar.set_postfix_str(source, refresh=False)
            if not source:  # done by an earlier build: no measure of how fast this one is
                bar.initial = bar.n = done
            bar.update(done - bar.n)

        yield progress
