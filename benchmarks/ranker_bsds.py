"""Has a Ranker learnt the metric, or the methods? Trained on BSDS500, judged on BSD100.

Three generators make three levels of each photograph, NIQE labels 296-pixel crops of them. On
held-out crops a network that merely recognises the methods, and orders them as they usually are,
is right on most pairs; so the table has that fixed order beside the Rankers, and counts the pairs
that reverse it. A Ranker by regression, otherwise trained alike, is there for the gap of scores.

    python benchmarks/ranker_bsds.py --train DIR --train DIR --held-out DIR --out DIR \\
        --level imdn=FILE --level srgan=FILE --level fast=FILE --seed 0 --seed 1 --seed 2 \\
        --recipe nss --recipe small

Every stage goes on where an earlier run stopped. Figures go to ``OUT/figures.csv`` as well.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.images import list_images
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.ranker import Comparison, compare, load_recipe, train
from ranksrgan.ranker.compare import as_table

# What a training is told beside the recipe, for a Ranker and for its regression variant.
VARIANTS = {"rank": (), "regression": ("losses={regression: 1}",)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="append", required=True, type=Path, metavar="DIR")
    parser.add_argument("--held-out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--level", action="append", required=True, metavar="NAME=SPEC")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--seed", action="append", type=int, dest="seeds")
    parser.add_argument("--recipe", action="append", dest="recipes", help="nss by default")
    parser.add_argument("--stride", type=int, default=16, help="between crops to learn from")
    parser.add_argument("--held-out-stride", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of every training")
    given = parser.parse_args()
    levels = dict(level.split("=", 1) for level in given.level)
    learn = _dataset(
        _gathered(given.train, given.out / "photographs"),
        given.out / "ranks",
        levels,
        stride=given.stride,
        val=0.05,
        workers=given.workers,
    )
    judge = _dataset(
        given.held_out,
        given.out / "held-out",
        levels,
        stride=given.held_out_stride,
        test=1.0,
        workers=given.workers,
    )
    weights = {}
    for recipe, seed in product(given.recipes or ["nss"], given.seeds or [0]):
        for variant, settings in VARIANTS.items():
            name = f"{recipe} {variant} {seed}"
            config = load_recipe(recipe, [*given.settings, *settings, f"seed={seed}"])
            folder = given.out / name.replace(" ", "-")
            sources = [open_pair_source(str(learn), split=split) for split in ("train", "val")]
            began = time.process_time()
            weights[name] = train(config, sources[0], sources[1], folder).weights
            print(f"{name}: {(time.process_time() - began) / 60:.1f} minutes of a core", flush=True)
    scorers = {name: open_scorer(str(path)) for name, path in weights.items()}
    found = compare(scorers, open_pair_source(str(judge), split="test"))
    print(as_table(found), end="")
    atomic.write_text(given.out / "figures.csv", _csv(found))


def _gathered(folders: Sequence[Path], target: Path) -> Path:
    """One folder with links to the images of all."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for path in list_images(folder):
            link = target / path.name
            if not link.is_symlink():
                link.symlink_to(path.resolve())
    return target


def _dataset(
    hr: Path,
    output: Path,
    levels: dict[str, str],
    *,
    stride: int,
    workers: int,
    val: float = 0.0,
    test: float = 0.0,
) -> Path:
    config = BuildConfig(hr=hr, output=output, levels=levels, stride=stride, val=val, test=test)
    summary = build(config, executor="processes", workers=workers)
    crops, images = (sum(counts.values()) for counts in (summary.crops, summary.sources))
    print(f"{output}: {crops} crops of {images} images")
    return output


def _csv(found: Comparison) -> str:
    """A line for the fixed order, for each Ranker, and for the metric itself."""
    lines = [{"scorer": name} | asdict(evaluation) for name, evaluation in found.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


if __name__ == "__main__":
    main()
