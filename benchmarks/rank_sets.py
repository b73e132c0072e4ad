"""Rankers of rank sets that need no super-resolution methods: what do they think of the methods?

Ranker-b, Ranker-n and Ranker-i of the paper (section 5.6) learn the order of blur, of noise and of
interpolations between the original and a GAN's result, which is the last of them here. Each then
scores a set in the manner of the paper's Rank100: 20 photographs, each as the original, bicubic and
by the given methods. The table has the mean score of each method, lower is better, beside the mean
of NIQE.

    python benchmarks/rank_sets.py --train DIR --held-out DIR --out DIR --gan FILE \\
        --method imdn=FILE --method srgan=FILE --method fast=FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.ranker import compare, load_recipe, train
from ranksrgan.ranker.compare import as_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, type=Path, metavar="DIR")
    parser.add_argument("--held-out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--gan", required=True, metavar="SPEC", help="of the interpolations")
    parser.add_argument("--method", action="append", required=True, metavar="NAME=SPEC")
    parser.add_argument("--sources", type=int, default=100, help="photographs to learn from")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of every training")
    given = parser.parse_args()
    sets = {
        "b": {"width0": "blur:0.1", "width2": "blur:2", "width4": "blur:4"},
        "n": {"sigma1": "noise:1", "sigma15": "noise:15", "sigma30": "noise:30"},
        "i": {
            "quarter": "interpolate:gan:0.25",
            "half": "interpolate:gan:0.5",
            "most": "interpolate:gan:0.75",
            "gan": given.gan,
        },
    }
    scorers = {}
    for name, levels in sets.items():
        data = given.out / f"ranks-{name}"
        config = BuildConfig(
            hr=given.train,
            output=data,
            levels=levels,
            label="order",
            sources=given.sources,
            stride=92,
        )
        build(config, executor="processes", workers=given.workers)
        run = given.out / f"ranker-{name}"
        sources = [open_pair_source(str(data), split=split) for split in ("train", "val")]
        # An order has no distances that a loss of differences could learn.
        order = "losses={margin: 1, magnitude: 0.01}"
        training = load_recipe("small", [order, *given.settings])
        scorers[f"Ranker-{name}"] = open_scorer(
            str(train(training, sources[0], sources[1], run).weights)
        )
    methods = {"hr": "hr", "bicubic": "bicubic"}
    methods |= dict(method.split("=", 1) for method in given.method)
    rank100 = given.out / "rank100"
    config = BuildConfig(
        hr=given.held_out, output=rank100, levels=methods, crop="whole", sources=20, val=0, test=1
    )
    build(config, executor="processes", workers=given.workers)
    print(as_table(compare(scorers, open_pair_source(str(rank100), split="test"))), end="")


if __name__ == "__main__":
    main()
