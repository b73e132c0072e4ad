"""How good an upscaler is on HR images: fidelity, naturalness, and whatever else scores."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput, UndefinedScore
from ranksrgan.contracts.images import as_float, from_tensor, list_images, to_tensor
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.scores import require_scores
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.metrics import create_scorer
from ranksrgan.srgan.config import STANDARD_COLUMNS
from ranksrgan.srgan.data.crops import Photograph, read_photograph


@dataclass(frozen=True)
class ImageScores:
    """One row: an image's name and its scores; None where a metric has no finite value for it."""

    image: str
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """Scores of every image."""

    images: tuple[ImageScores, ...]

    def mean(self, name: str) -> float | None:
        """Mean score over the images that have one; None if none has."""
        values = [value for row in self.images if (value := row.scores[name]) is not None]
        return sum(values) / len(values) if values else None

    def dropped(self, name: str) -> int:
        """Images that the metric has no value for: too small or too flat for NIQE, or equal to
        their original to the last bit, of which the PSNR is infinite."""
        return sum(row.scores[name] is None for row in self.images)


def standard_scorers(border: int) -> dict[str, Scorer]:
    """PSNR and SSIM on Y and NIQE, each without ``border`` pixels on every side."""
    return {name: create_scorer(name, border=border) for name in STANDARD_COLUMNS}


def require_free_names(scorers: Mapping[str, Scorer], taken: Collection[str], field: str) -> None:
    """Refuse scorers under a name that is taken: one of the two would be lost without a word.

    Raises:
        InvalidInput: of ``field``, and names the scorer and the names that are taken.
    """
    for name, scorer in scorers.items():
        if name in taken:
            raise InvalidInput(
                f"{field}: {scorer.info.name} is given as {name}, which another column is called; "
                f"give it another name than {', '.join(taken)}",
                field=field,
            )


def evaluate(
    upscaler: Upscaler,
    hr_folder: Path,
    scale: int,
    border: int,
    scorers: Mapping[str, Scorer] | None = None,
) -> Evaluation:
    """Make LR images from HR images, enlarge them, round to 8 bits and score the result.

    Args:
        upscaler: of this scale.
        hr_folder: HR images; cut to a multiple of the scale at the bottom and the right.
        scale: by which the HR images are reduced (MATLAB's bicubic, 8 bits).
        border: pixels left out on every side by PSNR, SSIM and NIQE.
        scorers: further scorers by the name of their column (a Ranker), another one than ``psnr``,
            ``ssim`` and ``niqe``; they see the whole image.

    Raises:
        InvalidInput: the upscaler has another scale, or returns what is no enlarged image; the name
            of a scorer is taken, or it returns what is no score; no image in the folder.
        InvalidImage: an image that cannot be read; before the first is enlarged.
        InvalidDataset: an image that is smaller than one LR pixel; likewise.
    """
    if upscaler.info.scale != scale:
        raise InvalidInput(
            f"{upscaler.info.name} enlarges {upscaler.info.scale} times; {scale} times is wanted",
            field="scale",
        )
    require_free_names(scorers or {}, STANDARD_COLUMNS, field="scorers")
    paths = list_images(hr_folder)
    for path in paths:
        cancellation.check()
        read_photograph(path, scale)  # one that cannot be read is not to cost the scores of others
    photographs = (read_photograph(path, scale) for path in paths)
    return evaluate_photographs(
        upscaler, photographs, {**standard_scorers(border), **(scorers or {})}
    )


def evaluate_photographs(
    upscaler: Upscaler, photographs: Iterable[Photograph], scorers: Mapping[str, Scorer]
) -> Evaluation:
    """`evaluate` on images that are in memory, with these scorers alone."""
    rows = []
    for photograph in photographs:
        cancellation.check()
        sr = enlarge(upscaler, as_float(photograph.lr[None]), photograph.name)
        shown = to_tensor(from_tensor(sr[0]))  # as it would be written
        scores = {
            name: _score(scorer, shown, photograph.hr[None]) for name, scorer in scorers.items()
        }
        rows.append(ImageScores(photograph.name, scores))
    return Evaluation(tuple(rows))


def _score(scorer: Scorer, image: Tensor, reference: Tensor) -> float | None:
    cancellation.check()
    try:
        with torch.no_grad():
            scores = scorer.score(image, reference if scorer.info.needs_reference else None)
    except (ImageTooSmall, UndefinedScore):
        return None
    require_scores(scores, scorer.info, 1)
    found = float(scores)
    return found if math.isfinite(found) else None  # a single one would be the mean of all
