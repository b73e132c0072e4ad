from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.metrics.gmsd import Gmsd, gmsd
from ranksrgan.metrics.luma import luma

Plane = npt.NDArray[np.float64]


def test_official_values(official: Callable[[str], list[tuple[Tensor, Tensor, float]]]) -> None:
    """Made with MATLAB's rgb2gray on uint8; the values have fifteen digits."""
    for image, reference, value in official("gmsd"):
        assert float(gmsd(image, reference, luma="gray")) == pytest.approx(value, rel=1e-12)


def conv2_same(plane: Plane, kernel: Plane) -> Plane:
    """MATLAB's, whose centre of an even kernel is not SciPy's."""
    top, left = (side // 2 for side in kernel.shape)
    full = np.asarray(convolve2d(plane, kernel))
    return full[top : top + plane.shape[0], left : left + plane.shape[1]]


def reference_gmsd(x: Plane, y: Plane) -> float:
    x, y = (conv2_same(plane, np.ones((2, 2)) / 4)[::2, ::2] for plane in (x, y))
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    a, b = (np.hypot(conv2_same(plane, prewitt), conv2_same(plane, prewitt.T)) for plane in (x, y))
    return float(np.std((2 * a * b + 170) / (a**2 + b**2 + 170), ddof=1))


@pytest.mark.parametrize("size", [(3, 3), (4, 7), (40, 41), (41, 40)])
@pytest.mark.parametrize("convention", ["y", "gray"])
def test_against_scipy(size: tuple[int, int], convention: str) -> None:
    height, width = size
    a, b = torch.randint(0, 256, (2, 1, 3, height + 2, width + 2), dtype=torch.uint8)
    x, y = (luma(i, convention, convention == "gray")[0, 1:-1, 1:-1].numpy() for i in (a, b))
    assert float(gmsd(a, b, 1, convention)) == pytest.approx(reference_gmsd(x, y), rel=1e-12)


def test_flat_images_are_equal() -> None:
    flat = torch.full((1, 1, 8, 8), 100, dtype=torch.uint8)
    assert float(gmsd(flat, flat)) == 0


def test_an_offset_does_not_matter_inside() -> None:
    a = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    assert float(gmsd(a, a + 50)) > 0  # at the edge, where zeros follow
    y = torch.arange(16, dtype=torch.uint8).expand(1, 1, 16, 16)
    assert float(gmsd(y, y)) == 0


def test_too_small() -> None:
    image = torch.rand(1, 3, 10, 20)
    with pytest.raises(ImageTooSmall, match="2 x 12 pixels are too few for GMSD: 3 x 3"):
        gmsd(image, image, border=4)


def test_scorer() -> None:
    scorer = Gmsd(border=1, luma="gray")
    assert scorer.info.name == "gmsd?border=1&luma=gray"
    assert scorer.info.min_side == 5
    assert not scorer.info.higher_is_better
    a, b = torch.rand(2, 1, 3, 12, 12)
    assert torch.equal(scorer.score(a, b), gmsd(a, b, 1, "gray"))
