"""Divisive normalisation of the oriented bands of one scale.

J. Portilla, V. Strela, M. J. Wainwright, E. P. Simoncelli, "Image denoising using scale mixtures of
Gaussians in the wavelet domain", IEEE Trans. Image Processing 12(11), 2003: neighbouring
coefficients y of covariance C share a multiplier, which is estimated by yᵀ C⁻¹ y / N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.ma.pyramid import ORIENTATIONS


def ma_normalise(bands: Tensor, parents: Tensor, margin: int) -> Tensor:
    """Divide each band by the local energy that its neighbourhood predicts.

    The neighbourhood of a pixel is its 3x3 surroundings, the same place in the other orientations,
    and in the next scale where there is a parent. Its mean products over the whole band are C, of
    which directions with less than 1e-12 of the largest variance are left out; N counts the
    surroundings and the parent, but not the other orientations. Where there is no energy the result
    is 0.

    Args:
        bands: ``(6, H, W)`` float64. No gradient.
        parents: ``(P, H, W)`` float64: of the first P orientations, none to all of them.
        margin: pixels to leave out on every side, after the one that the neighbourhood takes.

    Returns:
        ``(6, H - 2 - 2 margin, W - 2 - 2 margin)`` float64, each orientation of mean 0.

    Raises:
        InvalidInput: another type or shape.
        ImageTooSmall: nothing is left inside the margin.
    """
    for name, planes in (("bands", bands), ("parents", parents)):
        if planes.dtype != torch.float64:
            raise InvalidInput(f"{name}: float64 wanted, got {planes.dtype}", field=name)
    if bands.dim() != 3 or bands.shape[0] != ORIENTATIONS:
        raise InvalidInput(
            f"bands: shape ({ORIENTATIONS}, H, W) wanted, got {tuple(bands.shape)}", field="bands"
        )
    if parents.dim() != 3 or len(parents) > len(bands) or parents.shape[1:] != bands.shape[1:]:
        raise InvalidInput(
            f"parents: shape (0 to {ORIENTATIONS}, {bands.shape[1]}, {bands.shape[2]}) wanted, got "
            f"{tuple(parents.shape)}",
            field="parents",
        )
    if margin < 0:
        raise InvalidInput(f"margin: 0 or more wanted, got {margin}", field="margin")
    if min(bands.shape[1:]) < 3 + 2 * margin:
        raise ImageTooSmall(
            f"bands: at least {3 + 2 * margin} x {3 + 2 * margin} wanted for a margin of {margin}, "
            f"got {bands.shape[1]} x {bands.shape[2]}",
            field="bands",
        )
    operator = native.operator("ma_normalise", twin=reference.ma_normalise, register=_register)
    normalised: Tensor = operator(bands.detach(), parents.detach(), margin)
    return normalised


def _register(name: str) -> None:
    """Tell torch the shape that the compiled operator ``name`` returns."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.ma_normalise)
    torch.library.register_fake(name, _fake)


def _fake(bands: Tensor, parents: Tensor, margin: int) -> Tensor:
    orientations, height, width = bands.shape
    return bands.new_empty((orientations, height - 2 - 2 * margin, width - 2 - 2 * margin))
