"""NIQE, the natural image quality evaluator, as the published software computes it.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE
Signal Processing Letters 20(3), 2013. Scores are distances from natural images: 0 or more, lower is
better, about 2 to 20.

The one deviation is the snap rule of `mscn`: where a pixel differs from its local mean by rounding
noise only (flat regions), the published software takes the sign of that noise for a feature of the
image. Images without flat windows are not touched by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput, UndefinedScore
from ranksrgan.contracts.image_tensor import require_tensor
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.luma import (
    Convention,
    canonical_name,
    check_border,
    check_convention,
    check_images,
    shave,
)
from ranksrgan.metrics.mvg_distance import mvg_distance
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.nss_features import BLOCK, FEATURES, block_count, nss_features

__all__ = ["BLOCK", "FEATURES", "Niqe", "NiqeModel", "niqe", "niqe_features"]


def niqe(
    images: Tensor | Sequence[Tensor],
    border: int = 0,
    luma: Convention = "y",
    model: NiqeModel | None = None,
    *,
    fast: bool = False,
) -> Tensor:
    """NIQE of each image; lower is better.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8; or a sequence of images
            ``(3|1, H, W)``, each of its own size.
        border: pixels to leave out on every side (PIRM: 4).
        luma: ``"y"`` as PIRM and the super-resolution tables do it, ``"gray"`` as the NIQE
            software release does.
        model: of natural images; the published one if None.
        fast: see `nss_features`; scores then agree to 1e-4.

    Returns:
        ``(N,)`` float64 on the device of the images. Each image is scored on its own: a batch, the
        batch in another order, a sequence and single calls give the same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option.
        ImageTooSmall: fewer than two whole blocks of 96 x 96 without the border.
        UndefinedScore: so much of an image is flat that its features have no covariance.
    """
    model = model or NiqeModel.published()
    batches = checked_batches(images, border, luma)
    # All is queued before anything is waited for, should the images lie on a GPU.
    features = [nss_features(batch, border, luma, fast=fast) for batch in batches]
    mean, covariance = model.mean.cpu(), model.covariance.cpu()
    scores = torch.cat([mvg_distance(rows.cpu(), mean, covariance) for rows in features])
    for position, score in enumerate(scores.tolist()):
        if math.isnan(score):
            raise too_flat([rows for batch in features for rows in batch][position], position)
    return scores.to(batches[0].device)


def niqe_features(images: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """The features behind `niqe`: see `nss_features`, for arguments that are checked.

    Returns:
        ``(N, P, 36)`` float64 on the device of ``images``.

    Raises:
        InvalidInput, ImageTooSmall: as in `niqe`.
    """
    (batch,) = checked_batches(images, border, luma)
    return nss_features(batch, border, luma)


class NiqeScorer:
    """What `Niqe` and `DifferentiableNiqe` share: all but the score.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        model: of natural images; the published one if None.
    """

    joining = Joining("exactly")

    def __init__(
        self, border: int = 0, luma: Convention = "y", model: NiqeModel | None = None
    ) -> None:
        check_border(border)
        check_convention(luma)
        self._border = border
        self._luma = luma
        self._model = model or NiqeModel.published()

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name=canonical_name("niqe", self._border, self._luma),
            version="1",
            higher_is_better=False,
            needs_reference=False,
            differentiable=False,
            min_side=BLOCK + 2 * self._border,
            parameters_hash=self._model.sha256,
            lowest=0.0,
        )


class Niqe(NiqeScorer):
    """`niqe` as a `Scorer`; arguments as of `NiqeScorer`."""

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `niqe`."""
        refuse_references(references)
        return niqe(images, self._border, self._luma, self._model)

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.extract` and `niqe_features`: ``{"niqe": (N, P, 36)}``."""
        return {"niqe": niqe_features(images, self._border, self._luma)}


def refuse_references(references: Tensor | None) -> None:
    """Raises InvalidInput: there are some."""
    if references is not None:
        raise InvalidInput("niqe takes no references", field="references")


def checked_batches(
    images: Tensor | Sequence[Tensor], border: int, luma: Convention
) -> list[Tensor]:
    """``images`` as batches ``(n, 3|1, H, W)`` that NIQE is defined for.

    Raises:
        InvalidInput, ImageTooSmall: as in `niqe`.
    """
    check_convention(luma)
    check_border(border)
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        require_tensor(images)
    if isinstance(images, Tensor):
        batches = {"images": images}
    else:
        for k, image in enumerate(images):
            require_tensor(image, f"images[{k}]", single=True)
        batches = {f"images[{k}]": image[None] for k, image in enumerate(images)}
        if not batches:
            raise InvalidInput("images is empty; one image or more is wanted", field="images")
    for field, batch in batches.items():
        check_images(batch, field)
        height, width = shave(batch, border).shape[-2:]
        blocks = block_count(batch, border)
        if blocks < 2:
            raise ImageTooSmall(
                f"{height} x {width} pixels hold {blocks} blocks of {BLOCK} x {BLOCK}; "
                "NIQE needs two or more",
                field=field,
            )
    return list(batches.values())


def too_flat(rows: Tensor, position: int) -> UndefinedScore:
    """Why the image with these features ``(P, 36)`` has no score."""
    whole = int(rows.isfinite().all(dim=1).sum())
    return UndefinedScore(
        f"image {position} is too flat for NIQE: only {whole} of its {len(rows)} blocks have all "
        "features, and two are needed",
        field="images",
    )
