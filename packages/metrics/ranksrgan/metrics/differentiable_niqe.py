"""NIQE with a gradient.

Two steps of `ranksrgan.metrics.niqe` have no useful derivative and are left out: the luma is not
rounded to 8 bits, and the shapes of the fits are not rounded to the 0.001 of a table. The score is
a neighbour of NIQE, then, and not NIQE: within 0.04 on most photographs, 0.2 away where rounding
is the only texture of large areas. All else is the same, undefined features included.

The function has jumps: when a value changes its sign, another number of values makes up the
deviation of either side. The gradient is that of the smooth pieces between them. Where a local
deviation, a value or a product is exactly 0, the gradient of that term counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.image_gradient import image_gradient
from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.luma import (
    Convention,
    canonical_name,
    check_border,
    check_convention,
    shave,
)
from ranksrgan.metrics.mscn import mscn
from ranksrgan.metrics.mvg_distance import mvg_distance
from ranksrgan.metrics.niqe import checked_batches, too_flat
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.nss_features import BLOCK
from ranksrgan.metrics.reference.nss_features import cut, neighbour_products
from ranksrgan.metrics.reference.patch_crops import GREY
from ranksrgan.metrics.smooth_aggd import fit_smooth_aggd

# MATLAB's rgb2ycbcr of R, G, B in [0, 1]: black, then the weights.
_BLACK = 16.0
_Y = (65.481, 128.553, 24.966)


def differentiable_niqe(
    images: Tensor | Sequence[Tensor],
    border: int = 0,
    luma: Convention = "y",
    model: NiqeModel | None = None,
) -> Tensor:
    """NIQE without its roundings; gradients flow to ``images``, once.

    Args and errors as in `ranksrgan.metrics.niqe.niqe`.

    Returns:
        ``(N,)`` float64 on the device of the images. Each image is scored on its own.
    """
    model = model or NiqeModel.published()
    scores: list[Tensor] = []
    for batch in checked_batches(images, border, luma):
        for image in batch:
            cancellation.check()
            rows = _features(shave(_smooth_luma(image, luma), border))
            mean, covariance = model.mean.to(rows.device), model.covariance.to(rows.device)
            score = mvg_distance(rows[None], mean, covariance)[0]
            if bool(score.isnan()):
                raise too_flat(rows, position=len(scores))
            scores.append(score)
    return torch.stack(scores)


class DifferentiableNiqe:
    """`differentiable_niqe` as a `DifferentiableScorer`, ``niqe?gradient=true`` by name.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        model: of natural images; the published one if None.
    """

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
        name = canonical_name("niqe", self._border, self._luma)
        return ScorerInfo(
            name=f"{name}{'&' if '?' in name else '?'}gradient=true",
            version="1",
            higher_is_better=False,
            needs_reference=False,
            differentiable=True,
            min_side=BLOCK + 2 * self._border,
            parameters_hash=self._model.sha256,
            lowest=0.0,
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `differentiable_niqe`."""
        if references is not None:
            raise InvalidInput("niqe takes no references", field="references")
        return differentiable_niqe(images, self._border, self._luma, self._model)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `DifferentiableScorer.gradient`.

        Raises:
            InvalidInput: uint8, and whatever `score` refuses.
        """
        return image_gradient(self.score, images, references)


def _smooth_luma(image: Tensor, convention: Convention) -> Tensor:
    """``(H, W)`` float64 on the 0..255 scale of ``(3|1, H, W)``, never rounded."""
    pixels = image.double() if image.is_floating_point() else image.double() / 255
    if len(pixels) == 1:
        return pixels[0] * 255
    red, green, blue = pixels
    if convention == "gray":
        plane: Tensor = (GREY[0] * red + GREY[1] * green + GREY[2] * blue) * 255
    else:
        plane = _BLACK + _Y[0] * red + _Y[1] * green + _Y[2] * blue
    return plane


def _features(plane: Tensor) -> Tensor:
    """``(P, 36)`` of the blocks of ``(H, W)``; see `ranksrgan.metrics.nss_features`."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    full = plane[: rows * BLOCK, : columns * BLOCK]
    half = imresize(full, 0.5)
    return torch.cat([_block_features(full, BLOCK), _block_features(half, BLOCK // 2)], dim=1)


def _block_features(plane: Tensor, side: int) -> Tensor:
    blocks = cut(mscn(plane[None]).normalised[0], side)
    fit = fit_smooth_aggd(blocks.flatten(1))
    features = [fit.alpha, (fit.left + fit.right) / 2]
    for products in neighbour_products(blocks):
        fit = fit_smooth_aggd(products.flatten(1))
        features += [fit.alpha, fit.mean, fit.left, fit.right]
    return torch.stack(features, dim=1)
