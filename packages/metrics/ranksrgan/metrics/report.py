"""Scores of many image files and what failed, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from tqdm import tqdm

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded, Overloaded, RankSRGANError
from ranksrgan.contracts.images import list_images, read_image, to_tensor
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.scores import require_defined, require_scores

_CPU = torch.device("cpu")

# Seconds that one score waits for a service that is full.
_PATIENCE = 60.0


class Failure(TypedDict):
    image: str
    error: str  # code of the error class
    message: str


def failure(image: Path, error: RankSRGANError, metric: str | None = None) -> Failure:
    """That an image, or one metric of it, failed; the message begins with what it is about."""
    where = f"{image}: {metric}" if metric else str(image)
    message = str(error) if str(error).startswith(where) else f"{where}: {error}"
    return {"image": str(image), "error": error.code, "message": message}


class Report:
    """What `score_files` found out.

    Args:
        metrics: names of the columns.

    Attributes:
        metrics: the same.
        results: per image its path and the scores that could be computed.
        failed: what could not, with the reason.
        untried: how many of those, the last, were not tried.
    """

    def __init__(self, metrics: list[str]) -> None:
        self.metrics = metrics
        self.results: list[tuple[str, dict[str, float]]] = []
        self.failed: list[Failure] = []
        self.untried = 0

    def add_failure(self, image: Path, error: RankSRGANError, metric: str | None = None) -> None:
        """Note that an image, or one metric of it, has no score."""
        self.failed.append(failure(image, error, metric))

    def mean(self) -> dict[str, float]:
        """Mean of each metric over the images that have it; metrics that none has are left out."""
        means = {}
        for metric in self.metrics:
            scores = [row[metric] for _, row in self.results if metric in row]
            if scores:
                means[metric] = math.fsum(scores) / len(scores)
        return means


class References:
    """Finds the original of an image.

    In a folder it has the name of the image, suffix aside, or else the longest name that the
    image's begins with before a ``_``, upper and lower case alike: ``A0001`` is the original of
    PIPAL's ``A0001_00_03``, and ``I01`` that of TID2013's ``i01_01_1``.

    Args:
        path: one file, the original of every image, or a folder of originals.

    Raises:
        InvalidInput: a folder without images, or two files in it of one name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_stem: dict[str, Path] | None = None
        # The same in lower case, where two may come to have one name.
        self._alike: dict[str, list[Path]] = defaultdict(list)
        if path.is_dir():
            files = list_images(path)
            self._by_stem = {file.stem: file for file in files}
            if len(self._by_stem) != len(files):
                raise InvalidInput(
                    f"{path} holds two images of one name that differ in the suffix only",
                    field="reference",
                )
            for file in files:
                self._alike[file.stem.lower()].append(file)
        self._read = lru_cache(maxsize=1)(read_tensor)

    def of(self, image: Path) -> Tensor:
        """``(1, 3|1, H, W)`` of the original of ``image``.

        Raises:
            InvalidInput: the folder has none of such a name, or several.
            InvalidImage, ImageTooLarge: it cannot be read.
        """
        return self._read(self._path if self._by_stem is None else self._find(image, self._by_stem))

    def _find(self, image: Path, by_stem: Mapping[str, Path]) -> Path:
        parts = image.stem.split("_")
        for length in range(len(parts), 0, -1):
            name = "_".join(parts[:length])
            if name in by_stem:
                return by_stem[name]
            alike = self._alike.get(name.lower(), [])
            if len(alike) == 1:
                return alike[0]
            if alike:
                raise InvalidInput(
                    f"{self._path} holds several references for {image.stem}: "
                    f"{', '.join(file.name for file in alike)}",
                    field="reference",
                )
        raise InvalidInput(
            f"{self._path} holds no reference named {image.stem}"
            + (f", nor as what is before one of its _: {parts[0]}" if len(parts) > 1 else ""),
            field="reference",
        )


def score_files(
    paths: Sequence[Path],
    scorers: Mapping[str, Scorer],
    references: References | None = None,
    device: torch.device = _CPU,
    *,
    eight_bits: bool = False,
) -> Report:
    """Score files, and all images of folders, with a progress bar on a terminal.

    What is wrong with an image is noted, and stops nothing else. What concerns all images alike (a
    service that has gone) is raised if no image is scored yet; later it ends the work, and the
    images that have no score for it are noted as failed.

    Args:
        paths: files and folders.
        scorers: by the name of their column.
        references: originals, for scorers that need them.
        device: where images are scored.
        eight_bits: round deeper files to 8 bits first.
    """
    report = Report(list(scorers))
    images: list[Path] = []
    for path in paths:
        try:
            images += image_files([path])
        except InvalidInput as error:
            report.add_failure(path, error)
    for position, path in enumerate(tqdm(images, unit="image", disable=None, leave=False)):
        scored = len(report.results)
        try:
            _score_image(path, scorers, references, report, device, eight_bits)
        except RankSRGANError as error:
            if not scored:
                raise
            report.untried = len(images) - position - 1
            for without in images[position:]:
                report.add_failure(without, error)
            break
    return report


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and all images of folders.

    Raises:
        InvalidInput: a folder without images.
    """
    return [image for path in paths for image in (list_images(path) if path.is_dir() else [path])]


def _score_image(
    path: Path,
    scorers: Mapping[str, Scorer],
    references: References | None,
    report: Report,
    device: torch.device,
    eight_bits: bool,
) -> None:
    scores: dict[str, float] = {}
    try:
        image = _prepared(read_tensor(path), eight_bits).to(device)
    except (InvalidInput, LimitExceeded) as error:
        report.add_failure(path, error)
        return
    try:
        for name, scorer in scorers.items():
            try:
                reference = None
                if references is not None and scorer.info.needs_reference:
                    reference = _prepared(references.of(path), eight_bits).to(device)
                scores[name] = _score(scorer, *_alike(image, reference))
            except Overloaded:
                raise  # the next image would have to wait as long
            except (InvalidInput, LimitExceeded) as error:
                report.add_failure(path, error, name)
    finally:
        if scores:
            report.results.append((str(path), scores))


def _score(scorer: Scorer, image: Tensor, reference: Tensor | None) -> float:
    """The score of one image; a service that is full is waited for as long as it says.

    Raises:
        UndefinedScore: it is NaN; and whatever the scorer raises.
        InvalidInput: the scorer returned other than one score.
    """
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            scores = scorer.score(image, reference)
            break
        except Overloaded as full:
            # Others were told the same time, and are not to come all at once.
            pause = max(full.retry_after or 1.0, 0.01) * random.uniform(1.0, 1.5)
            if time.monotonic() + pause > give_up:
                raise
        time.sleep(pause)
    require_scores(scores, scorer.info, 1)
    require_defined(scores, scorer.info)
    return float(scores)


def _prepared(image: Tensor, eight_bits: bool) -> Tensor:
    rounded = eight_bits and image.dtype != torch.uint8
    return (255 * image).round().byte() if rounded else image


def _alike(image: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A grey file against a file with colours: the grey one as three equal channels."""
    if reference is None or image.shape[1] == reference.shape[1]:
        return image, reference
    return image.expand(-1, 3, -1, -1), reference.expand(-1, 3, -1, -1)


def as_json(report: Report) -> str:
    """``{"results": [...], "mean": {...}, "failed": [...]}``.

    An infinite score (PSNR of equal images) is null, since JSON has no infinity; a score that could
    not be computed is absent.
    """
    document = {
        "results": [{"image": image, **finite(row)} for image, row in report.results],
        "mean": finite(report.mean()),
        "failed": report.failed,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """A header and one line an image; an empty cell is a score that could not be computed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *report.metrics])
    for image, row in report.results:
        writer.writerow([image, *(row.get(metric, "") for metric in report.metrics)])
    return text.getvalue()


def as_table(report: Report) -> str:
    """Aligned columns with the mean in the last line."""
    rows = [*report.results, ("mean", report.mean())]
    cells = [["image", *report.metrics]]
    for label, row in rows:
        cells.append(
            [label, *(f"{row[metric]:.4f}" if metric in row else "-" for metric in report.metrics)]
        )
    return aligned(cells)


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Lines of columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        numbers = (f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{line[0]:<{widths[0]}}", *numbers]))
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
}


def read_tensor(path: Path) -> Tensor:
    """``(1, 3|1, H, W)``; raises as `ranksrgan.contracts.images.read_image`."""
    return to_tensor(read_image(path))


def finite(row: Mapping[str, float]) -> dict[str, float | None]:
    """A row for JSON, which has no infinity: null there."""
    return {metric: score if math.isfinite(score) else None for metric, score in row.items()}
