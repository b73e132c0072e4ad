"""Ma, the no-reference metric for super-resolution, as the published software computes it.

C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang, "Learning a no-reference quality metric for single-image
super-resolution", Computer Vision and Image Understanding 158, 2017; also known as NRQM. Three
random forests were trained on what people thought of super-resolved images, on a scale from 0 to
10, and a linear combination of their predictions is the score; higher is better. It is neither
clamped nor bounded.

The features are computed here. The trained forests are the authors' file, the asset ``ma``;
`ranksrgan.metrics.ma.fit` trains others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.assets import get_asset, present
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.luma import (
    Convention,
    canonical_name,
    check_border,
    check_convention,
    luma_planes,
)
from ranksrgan.metrics.ma import pca as ma_pca
from ranksrgan.metrics.ma import subbands as ma_subbands
from ranksrgan.metrics.ma.dct import dct_features
from ranksrgan.metrics.ma.model import ASSET, MaModel, file_sha256
from ranksrgan.metrics.ma.pca import singular_values
from ranksrgan.metrics.ma.subbands import subband_features

#: Both sides of an image need so much; 84 x 84 pixels are enough.
MIN_SIDE = ma_subbands.MIN_SIDE

_LEVELS = 3


def ma(
    images: Tensor, border: int = 0, luma: Convention = "y", model: MaModel | None = None
) -> Tensor:
    """Ma of each image; higher is better.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        border: pixels to leave out on every side (PIRM: 4).
        luma: ``"y"`` as PIRM does it, ``"gray"`` as the authors' own demonstration does.
        model: the authors' if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``, about 0 to 10. Each image is scored on its
        own: a batch, the batch in another order and single calls give the same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option.
        ImageTooSmall: see `ma_features`.
        MissingAsset: no model is given and the authors' file is not there.
    """
    model = model or MaModel.published()
    return model.predict(ma_features(images, border, luma).cpu()).to(images.device)


def ma_features(images: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """The features behind `ma`; they need no model.

    Args and errors as in `ma`, but for `MissingAsset`. Flat images have features too: the shape of
    a constant is 10, the correlation of bands that are 0 is 1.

    Returns:
        ``(N, 138)`` float64 on the device of ``images``: 18 of the block DCT at three sizes, 45 of
        a steerable pyramid, 25 singular values at each of the three sizes.

    Raises:
        ImageTooSmall: a side below 45 pixels, or at a quarter of the size fewer than 25 blocks of
            5 x 5, without the border.
    """
    planes = luma_planes(images, border, luma)
    return torch.stack([_features(plane) for plane in planes]).to(images.device)


class Ma:
    """`ma` as a `Scorer`.

    Without the authors' file it can be made and asked for its `info`, whose ``parameters_hash`` is
    then empty; scoring raises `MissingAsset`.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        model: the authors' if None.
    """

    joining = Joining("exactly")

    def __init__(
        self, border: int = 0, luma: Convention = "y", model: MaModel | None = None
    ) -> None:
        check_border(border)
        check_convention(luma)
        self._border = border
        self._luma = luma
        self._model = model

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name=canonical_name("ma", self._border, self._luma),
            version="1",
            higher_is_better=True,
            needs_reference=False,
            differentiable=False,
            min_side=MIN_SIDE + 2 * self._border,
            parameters_hash=model_hash(self._model),
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `ma`."""
        if references is not None:
            raise InvalidInput("ma takes no references", field="references")
        return ma(images, self._border, self._luma, self._model)

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.extract` and `ma_features`: ``{"ma": (N, 138)}``."""
        return {"ma": ma_features(images, self._border, self._luma)}


def model_hash(model: MaModel | None) -> str:
    """Of the model, or of the authors' file where that is None; empty where there is no file."""
    if model is not None:
        return model.sha256
    path = present(get_asset(ASSET))
    return file_sha256(path, path.stat().st_mtime_ns) if path else ""


def _features(plane: Tensor) -> Tensor:
    """``(138,)`` of a luma plane on the 0..255 scale."""
    height, width = plane.shape
    side = ma_pca.SIDE
    blocks = math.ceil(height // 4 / side) * math.ceil(width // 4 / side)
    if min(height, width) < MIN_SIDE or blocks < ma_pca.VALUES:
        raise ImageTooSmall(
            f"{height} x {width} pixels are too few for Ma: it needs sides of {MIN_SIDE} and "
            f"{ma_pca.VALUES} blocks of {side} x {side} at a quarter of the size (84 x 84, say), "
            f"and here are {blocks}",
            field="images",
        )
    levels = [plane / 255]
    while len(levels) < _LEVELS:
        levels.append(_half(levels[-1]))
    local_frequency = [dct_features(level) for level in levels]
    global_frequency = subband_features(plane)
    spatial = [singular_values(level) for level in levels]
    return torch.cat([*local_frequency, global_frequency, *spatial])


def _half(plane: Tensor) -> Tensor:
    """Every second pixel, from the second on, of the plane behind a 3x3 Gaussian of sigma 1/2.

    Beyond the edge the plane is 0, as it is in the published software.
    """
    bell = math.exp(-2)
    side, centre = bell / (1 + 2 * bell), 1 / (1 + 2 * bell)
    for _ in range(2):
        high = plane.shape[0] // 2
        padded = F.pad(plane, (0, 0, 0, 1))
        above, here, below = padded[0::2][:high], padded[1::2][:high], padded[2::2][:high]
        plane = (side * (above + below) + centre * here).T
    return plane.contiguous()
