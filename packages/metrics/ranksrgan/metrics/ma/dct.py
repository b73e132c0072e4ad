"""Statistics of local DCT coefficients: the first 18 features of Ma.

C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang, "Learning a no-reference quality metric for single-image
super-resolution", Computer Vision and Image Understanding 158, 2017, section 3.1; after M. Saad,
A. C. Bovik, C. Charrier, "Blind image quality assessment: a natural scene statistics approach in
the DCT domain", IEEE Trans. Image Processing 21(8), 2012.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.ggd import ggd_shape


class BlockDct(NamedTuple):
    """One number for each window, ``(N, ceil(H / 3), ceil(W / 3))`` float64.

    Attributes:
        ratio: variance of the 48 coefficients over their squared mean deviation, for `ggd_shape`.
        variation: standard deviation of their sizes over the mean size.
        orientation: variance of that variation over three groups of 16 coefficients: horizontal,
            diagonal and vertical frequencies.
    """

    ratio: Tensor
    variation: Tensor
    orientation: Tensor


def dct_features(plane: Tensor) -> Tensor:
    """Six features of one level of the pyramid.

    Of the shape of a generalised Gaussian the mean over the lowest tenth of the windows and over
    all; of the coefficient of variation, and of its variance over orientations, the mean over the
    highest tenth and over all.

    Args:
        plane: ``(H, W)`` float64 in [0, 1], two windows or more (4 pixels in a row).

    Returns:
        ``(6,)`` float64 on the CPU.
    """
    statistics = ma_dct(plane[None])
    shape = np.sort(_flat(ggd_shape(statistics.ratio)))
    features = [shape[: math.ceil(len(shape) * 0.1)].mean(), shape.mean()]
    for statistic in (statistics.variation, statistics.orientation):
        values = np.sort(_flat(statistic))
        # As the published software counts: from the last of the lower nine tenths on.
        features += [values[int(len(values) * 0.9) - 1 :].mean(), values.mean()]
    return torch.tensor(features, dtype=torch.float64)


def ma_dct(planes: Tensor) -> BlockDct:
    """Statistics of the DCT coefficients of 7x7 windows, without the constant one.

    Windows are three pixels apart and reach two pixels beyond the plane at the top and on the left,
    and as far as the last needs at the bottom and on the right, where it is 0.

    Args:
        planes: ``(N, H, W)`` float64 on the 0..1 scale, to which the constants that keep the
            quotients finite are fitted; N may be 0. No gradient.

    Raises:
        InvalidInput: another type or shape.
    """
    if planes.dtype != torch.float64:
        raise InvalidInput(f"planes: float64 wanted, got {planes.dtype}", field="planes")
    if planes.dim() != 3 or 0 in planes.shape[1:]:
        raise InvalidInput(
            f"planes: shape (N, H, W) with H, W >= 1 wanted, got {tuple(planes.shape)}",
            field="planes",
        )
    operator = native.operator("ma_dct", twin=reference.ma_dct, register=_register)
    return BlockDct(*operator(planes.detach()))


def _flat(values: Tensor) -> npt.NDArray[np.float64]:
    # NumPy adds in one order whatever the number of threads.
    flat: npt.NDArray[np.float64] = values.flatten().cpu().numpy()
    return flat


def _register(name: str) -> None:
    """Tell torch the shapes that the compiled operator ``name`` returns."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.ma_dct)
    torch.library.register_fake(name, _fake)


def _fake(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, height, width = planes.shape
    shape = (batch, (height + 2) // 3, (width + 2) // 3)
    return planes.new_empty(shape), planes.new_empty(shape), planes.new_empty(shape)
