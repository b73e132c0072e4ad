"""NIQE, the natural image quality evaluator, as the published software computes it.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE
Signal Processing Letters 20(3), 2013. Scores are distances from natural images: 0 or more, lower is
better, about 2 to 20.

The one deviation is the snap rule of `mscn`: where a pixel differs from its local mean by rounding
noise only (flat regions), the published software takes the sign of that noise for a feature of the
image. Images without flat windows are not touched by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput, UndefinedScore
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.aggd import fit_aggd
from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.luma import (
    Convention,
    canonical_name,
    check_border,
    check_convention,
    luma_planes,
)
from ranksrgan.metrics.mscn import mscn

#: Side of the blocks that features are taken from, at full size; half of it at half size.
BLOCK = 96
FEATURES = 36

# Neighbours whose products are modelled: right, below, and the two diagonals (rows, columns).
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True, eq=False)
class NiqeModel:
    """A multivariate Gaussian of the features of natural images.

    Attributes:
        mean: ``(36,)`` float64.
        covariance: ``(36, 36)`` float64, symmetric and positive definite.
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise InvalidInput(
                f"a NIQE model has a mean of {FEATURES} and a covariance of {FEATURES} x "
                f"{FEATURES}, not {tuple(self.mean.shape)} and {tuple(self.covariance.shape)}",
                field="model",
            )

    @cached_property
    def sha256(self) -> str:
        """Of the numbers, little-endian float64, mean first."""
        numbers = torch.cat([self.mean, self.covariance.flatten()]).cpu().double().numpy()
        return hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()

    @classmethod
    @lru_cache(maxsize=1)
    def published(cls) -> NiqeModel:
        """The model of the NIQE software release (LIVE, The University of Texas at Austin)."""
        text = (resources.files("ranksrgan.metrics") / "params" / "niqe_pristine.json").read_text()
        numbers = json.loads(text)
        return cls(
            torch.tensor(numbers["mu"], dtype=torch.float64),
            torch.tensor(numbers["cov"], dtype=torch.float64),
        )


def niqe(
    images: Tensor, border: int = 0, luma: Convention = "y", model: NiqeModel | None = None
) -> Tensor:
    """NIQE of each image; lower is better.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        border: pixels to leave out on every side (PIRM: 4).
        luma: ``"y"`` as PIRM and the super-resolution tables do it, ``"gray"`` as the NIQE
            software release does.
        model: of natural images; the published one if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``. Each image is scored on its own: a batch, the
        batch in another order and single calls give the same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option.
        ImageTooSmall: fewer than two whole blocks of 96 x 96 without the border.
        UndefinedScore: so much of an image is flat that its features have no covariance.
    """
    model = model or NiqeModel.published()
    scores = [
        _distance(features, model, position)
        for position, features in enumerate(_features_of_each(images, border, luma))
    ]
    return torch.stack(scores).to(images.device)


def niqe_features(images: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """The features behind `niqe`, for each block of 96 x 96 in row order.

    Args and errors as in `niqe`, but for `UndefinedScore`.

    Returns:
        ``(N, P, 36)`` float64: 18 at full size, 18 at half size, each the shape and the mean scale
        of the contrast-normalised pixels, then shape, mean, left and right scale of the products
        of neighbours to the right, below and on both diagonals. NaN where a block is too flat for
        a feature.
    """
    return torch.stack(list(_features_of_each(images, border, luma)))


class Niqe:
    """`niqe` as a `Scorer`.

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

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `niqe`."""
        if references is not None:
            raise InvalidInput("niqe takes no references", field="references")
        return niqe(images, self._border, self._luma, self._model)

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.extract` and `niqe_features`: ``{"niqe": (N, P, 36)}``."""
        return {"niqe": niqe_features(images, self._border, self._luma)}


def _features_of_each(images: Tensor, border: int, luma: Convention) -> Iterator[Tensor]:
    for plane in luma_planes(images, border, luma):
        height, width = plane.shape
        rows, columns = height // BLOCK, width // BLOCK
        if rows * columns < 2:
            raise ImageTooSmall(
                f"{height} x {width} pixels hold {rows * columns} blocks of {BLOCK} x {BLOCK}; "
                "NIQE needs two or more",
                field="images",
            )
        # The remainder is cut off before filtering, so that the filters' border is there.
        full = plane[: rows * BLOCK, : columns * BLOCK].contiguous()
        # Not rounded; exact in float64, since the kernel's weights are multiples of 1/256.
        half = imresize(full, 0.5)
        yield torch.cat([_block_features(full, BLOCK), _block_features(half, BLOCK // 2)], dim=1)


def _block_features(plane: Tensor, side: int) -> Tensor:
    """``(P, 18)`` of the P blocks of ``side`` x ``side`` that make up the plane."""
    normalised = mscn(plane[None]).normalised[0]
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    blocks = normalised.reshape(rows, side, columns, side).transpose(1, 2)
    blocks = blocks.reshape(rows * columns, side, side)
    fit = fit_aggd(blocks.flatten(1))
    features = [fit.alpha, (fit.left + fit.right) / 2]
    for shift in _NEIGHBOURS:
        # Around the edge of the block itself: that is how the published software does it.
        products = blocks * blocks.roll(shift, dims=(1, 2))
        fit = fit_aggd(products.flatten(1))
        features += [fit.alpha, fit.mean, fit.left, fit.right]
    return torch.stack(features, dim=1)


def _distance(features: Tensor, model: NiqeModel, position: int) -> Tensor:
    """Mahalanobis distance between the model and the Gaussian of one image's ``(P, 36)``."""
    features = features.cpu()  # tiny from here on
    mean = features.nanmean(dim=0)
    whole = features[features.isfinite().all(dim=1)]
    if len(whole) < 2 or not bool(mean.isfinite().all()):
        raise UndefinedScore(
            f"image {position} is too flat for NIQE: only {len(whole)} of its {len(features)} "
            "blocks have all features, and two are needed",
            field="images",
        )
    centred = whole - whole.mean(dim=0)
    # A plain sum of outer products: BLAS would order it by the number of threads.
    covariance = (centred[:, :, None] * centred[:, None, :]).sum(dim=0) / (len(whole) - 1)
    difference = (model.mean - mean)[:, None]
    factor = torch.linalg.cholesky((model.covariance + covariance) / 2)
    whitened: Tensor = torch.linalg.solve_triangular(factor, difference, upper=False)
    return whitened.square().sum().sqrt()
