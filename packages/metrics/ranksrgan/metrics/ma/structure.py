"""Structural correlation between planes: the third factor of SSIM with the constant C2.

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image quality
assessment", Asilomar 2003; between the bands of one image as in A. K. Moorthy, A. C. Bovik, "Blind
image quality assessment: from natural scene statistics to perceptual quality", IEEE Trans. Image
Processing 20(12), 2011.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.reference.ma_structure import WINDOW


def ma_structure(planes: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Mean structural correlation of pairs of planes.

    ``(2 covariance + C2) / (variance + variance + C2)`` in every window that lies inside the
    planes, averaged; Gaussian windows of 11x11 with sigma 1.5, C2 = (0.03 * 255)². Negative values
    count as they are.

    Args:
        planes: one or more of one shape ``(H, W)``, float64 on the 0..255 scale. No gradient.
        pairs: P pairs of indices into ``planes``.

    Returns:
        ``(P,)`` float64, -1 to 1.

    Raises:
        InvalidInput: another type or shape, or an index that is not there.
        ImageTooSmall: the planes hold no window.
    """
    shapes = {tuple(plane.shape) for plane in planes}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes):
        raise InvalidInput(
            f"planes: one or more of one shape (H, W) wanted, got {sorted(shapes)}", field="planes"
        )
    for plane in planes:
        if plane.dtype != torch.float64:
            raise InvalidInput(f"planes: float64 wanted, got {plane.dtype}", field="planes")
    height, width = planes[0].shape
    if min(height, width) < WINDOW:
        raise ImageTooSmall(
            f"planes: at least {WINDOW} x {WINDOW} wanted, got {height} x {width}", field="planes"
        )
    first, second = [i for i, _ in pairs], [j for _, j in pairs]
    if any(not 0 <= index < len(planes) for index in first + second):
        raise InvalidInput(
            f"pairs: indices from 0 to {len(planes) - 1} wanted, got {list(pairs)}", field="pairs"
        )
    operator = native.operator("ma_structure", twin=reference.ma_structure, register=_register)
    correlations: Tensor = operator([plane.detach() for plane in planes], first, second)
    return correlations


def _register(name: str) -> None:
    """Tell torch the shape that the compiled operator ``name`` returns."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.ma_structure)
    torch.library.register_fake(name, _fake)


def _fake(planes: Sequence[Tensor], first: Sequence[int], second: Sequence[int]) -> Tensor:
    return planes[0].new_empty(len(first))
