"""Methods by metrics: the mean scores of several folders of results on the same images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, RankSRGANError
from ranksrgan.contracts.images import list_images
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics.report import (
    Failure,
    References,
    Report,
    aligned,
    finite,
    score_files,
)

#: Metrics with all their options, by the column that they fill, for tables of others that are to be
#: compared with. All look at files rounded to 8 bits.
RECIPES: dict[str, dict[str, str]] = {
    # The script of RealSR-CCL: all channels of RGB without a border of 4 pixels, SSIM the mean of
    # the three channels', and LPIPS of the whole image.
    "realsr-ccl": {
        "psnr": "psnr?border=4&luma=rgb",
        "ssim": "ssim?border=4&luma=rgb",
        "lpips": "lpips?border=0&net=alex",
    },
}


@dataclass(frozen=True)
class Method:
    """One folder.

    Attributes:
        name: the folder's, or its whole path where two folders share a name.
        images: how many there are.
        means: of each metric over the images that have it.
        scored: how many images have a score, by metric.
        failed: what has no score.
        untried: how many of those, the last, were not tried.
    """

    name: str
    images: int
    means: dict[str, float]
    scored: dict[str, int]
    failed: list[Failure]
    untried: int


@dataclass(frozen=True)
class Comparison:
    """What `compare_folders` found out.

    Attributes:
        metrics: names of the columns, each with whether higher is better.
        methods: in the order of the folders.
    """

    metrics: dict[str, bool]
    methods: list[Method]

    def best(self, metric: str) -> str | None:
        """The method of the best mean among those whose images all have that score; None if none.

        It is the first of those that are equally good.
        """
        means = {
            method.name: method.means[metric]
            for method in self.methods
            if metric in method.means and method.scored[metric] == method.images
        }
        choose = max if self.metrics[metric] else min
        return choose(means, key=lambda name: means[name]) if means else None


def compare_folders(
    folders: Sequence[Path],
    scorers: Mapping[str, Scorer],
    references: References | None,
    device: torch.device,
    *,
    eight_bits: bool = False,
) -> Comparison:
    """Score every image of every folder, rounded to 8 bits first if that is wanted.

    Raises:
        InvalidInput: no such folder, or one is given twice.
        InvalidDataset: the folders do not hold the same images, so that their means would say
            nothing, or one holds two of one name; names the first.
    """
    _check_same_images(folders)
    names = [folder.name for folder in folders]
    methods: list[Method] = []
    for folder, name in zip(folders, names, strict=True):
        try:
            report = score_files([folder], scorers, references, device, eight_bits=eight_bits)
        except RankSRGANError as error:
            if not methods:
                raise
            report = Report(list(scorers))
            report.add_failure(folder, error)
        methods.append(
            Method(
                name=str(folder) if names.count(name) > 1 else name,
                images=len(list_images(folder)),
                means=report.mean(),
                scored={
                    metric: sum(metric in row for _, row in report.results) for metric in scorers
                },
                failed=report.failed,
                untried=report.untried,
            )
        )
    directions = {name: scorer.info.higher_is_better for name, scorer in scorers.items()}
    return Comparison(directions, methods)


def as_table(found: Comparison) -> str:
    """Aligned columns; a star marks the best of each metric."""
    header = ["method", *(f"{name} {'↑' if up else '↓'}" for name, up in found.metrics.items())]
    lines = [header]
    best = {metric: found.best(metric) for metric in found.metrics}
    for method in found.methods:
        cells = [
            f"{method.means[metric]:.4f}{'*' if best[metric] == method.name else ' '}"
            if metric in method.means
            else "- "
            for metric in found.metrics
        ]
        lines.append([method.name, *cells])
    return aligned(lines)


def as_csv(found: Comparison) -> str:
    """A header and one line a method; an empty cell is a mean of nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "images", "failed", *found.metrics])
    for method in found.methods:
        means = (method.means.get(metric, "") for metric in found.metrics)
        writer.writerow([method.name, method.images, len(method.failed), *means])
    return text.getvalue()


def as_json(found: Comparison) -> str:
    """``{"methods": [{"method", "images", "mean", "failed"}], "best": {metric: method}}``."""
    document = {
        "methods": [
            {
                "method": method.name,
                "images": method.images,
                "mean": finite(method.means),
                "failed": method.failed,
            }
            for method in found.methods
        ],
        "best": {metric: found.best(metric) for metric in found.metrics},
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
}


def _check_same_images(folders: Sequence[Path]) -> None:
    stems: dict[Path, set[str]] = {}
    for folder in folders:
        if folder in stems:
            raise InvalidInput(f"{folder} is given twice", field=str(folder))
        files = list_images(folder)
        by_stem = {path.stem: path for path in files}
        double = next((path for path in files if by_stem[path.stem] != path), None)
        if double is not None:
            raise InvalidDataset(
                f"{folder} holds {double.name} and {by_stem[double.stem].name}: methods are "
                "compared by one image of each name",
                field=str(folder),
            )
        stems[folder] = set(by_stem)
    every = set().union(*stems.values())
    for folder, found in stems.items():
        missing = sorted(every - found)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InvalidDataset(
                f"{folder} has no image named {missing[0]}{more}, which another folder has: "
                "methods are compared on the same images",
                field=str(folder),
            )
