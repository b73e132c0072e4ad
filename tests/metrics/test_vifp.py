from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.vifp import Vifp, vifp

Plane = npt.NDArray[np.float64]


def reference_vifp(y: Plane, x: Plane) -> float:
    """The steps and tolerances of the authors' program, with windows of two dimensions."""
    kept = there = 0.0
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        offsets = np.arange(size) - size // 2
        bell = np.exp(-(offsets**2) / (2 * (size / 5) ** 2))
        window = np.outer(bell, bell) / bell.sum() ** 2

        def smooth(plane: Plane, window: Plane = window) -> Plane:
            return np.asarray(correlate2d(plane, window, mode="valid"))

        if scale > 1:
            x, y = smooth(x)[::2, ::2], smooth(y)[::2, ::2]
        mean_x, mean_y = smooth(x), smooth(y)
        variance_x = np.maximum(smooth(x * x) - mean_x**2, 0)
        variance_y = np.maximum(smooth(y * y) - mean_y**2, 0)
        covariance = smooth(x * y) - mean_x * mean_y
        gain = covariance / (variance_x + 1e-10)
        noise = variance_y - gain * covariance
        gain[variance_x < 1e-10] = 0
        noise = np.where(variance_x < 1e-10, variance_y, noise)
        variance_x[variance_x < 1e-10] = 0
        gain[variance_y < 1e-10] = 0
        noise[variance_y < 1e-10] = 0
        noise = np.where(gain < 0, variance_y, noise)
        gain = np.maximum(gain, 0)
        noise = np.maximum(noise, 1e-10)
        kept += np.log10(1 + gain**2 * variance_x / (noise + 2)).sum()
        there += np.log10(1 + variance_x / 2).sum()
    return float(kept / there)


@pytest.mark.parametrize("size", [(41, 41), (42, 60), (75, 80)])
@pytest.mark.parametrize("convention", ["y", "gray"])
def test_against_scipy(
    size: tuple[int, int], convention: str, photograph: Callable[[str], Tensor]
) -> None:
    reference = photograph("chelsea")[..., 50 : 52 + size[0], 60 : 62 + size[1]]
    image = (reference + torch.randn(reference.shape) * 20).clamp(0, 255).byte()
    image[..., :20, :20] = 255 - reference[..., :20, :20]  # gains below 0
    x, y = (
        luma(i, convention, convention == "gray")[0, 1:-1, 1:-1].numpy() for i in (image, reference)
    )
    # The program adds its tolerance to every variance.
    assert float(vifp(image, reference, 1, convention)) == pytest.approx(
        reference_vifp(x, y), rel=1e-8
    )


def test_it_is_not_the_published_vif(
    official: Callable[[str], list[tuple[Tensor, Tensor, float]]],
) -> None:
    for image, reference, value in official("vif"):
        assert abs(float(vifp(image, reference, luma="gray")) - value) > 0.01


def test_contrast_above_that_of_the_reference_is_more_than_one() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 0.35 + 0.3 * torch.rand(1, 1, 80, 80, generator=generator)
    assert float(vifp((reference - 0.5) * 1.5 + 0.5, reference)) > 1.05


def test_flat_images() -> None:
    textured = torch.rand(1, 1, 41, 41)
    flat = torch.full_like(textured, 0.3)
    assert float(vifp(flat, textured)) == 0
    with pytest.raises(UndefinedScore, match=r"VIFp is .* reference 0 has none: it is flat"):
        vifp(textured, flat)


def test_too_small() -> None:
    image = torch.rand(1, 3, 48, 60)
    with pytest.raises(ImageTooSmall, match=r"40 x 52 pixels are too few .* VIFp: 41 x 41"):
        vifp(image, image, border=4)


def test_scorer() -> None:
    scorer = Vifp(border=1, luma="gray")
    assert scorer.info.name == "vifp?border=1&luma=gray"
    assert scorer.info.min_side == 43
    assert scorer.info.higher_is_better
    a, b = torch.rand(2, 1, 3, 50, 50)
    assert torch.equal(scorer.score(a, b), vifp(a, b, 1, "gray"))
