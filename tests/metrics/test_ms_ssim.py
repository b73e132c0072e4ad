from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.ms_ssim import MsSsim, ms_ssim

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])

Plane = npt.NDArray[np.float64]


def test_official_values_are_the_weighted_sum(
    official: Callable[[str], list[tuple[Tensor, Tensor, float]]],
) -> None:
    """Four digits, on MATLAB's gray. The product of the paper is .6700 for the first."""
    for image, reference, value in official("ms_ssim"):
        score = float(ms_ssim(image, reference, luma="gray", pooling="sum"))
        assert score == pytest.approx(value, abs=5.1e-5)
    image, reference, _ = official("ms_ssim")[0]
    assert float(ms_ssim(image, reference, luma="gray")) == pytest.approx(0.66998, abs=5.1e-6)


def ssim_and_structure(x: Plane, y: Plane) -> tuple[float, float]:
    """scikit-image's SSIM, and the same without its factor of luminance."""
    _, similarity = structural_similarity(
        x,
        y,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        truncate=5 / 1.5,
        use_sample_covariance=False,
        full=True,
    )
    values = np.asarray(similarity)[5:-5, 5:-5]
    mean_x, mean_y = (gaussian_filter(p, 1.5, truncate=5 / 1.5)[5:-5, 5:-5] for p in (x, y))
    c1 = (0.01 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(values.mean()), float((values / luminance).mean())


def halve(plane: Plane) -> Plane:
    """MATLAB: imfilter(plane, ones(2) / 4, 'symmetric'), then every second pixel."""
    padded = np.pad(plane, ((0, 1), (0, 1)), mode="symmetric")
    means = (padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]) / 4
    return means[::2, ::2]


@pytest.mark.parametrize("size", [(176, 176), (177, 190), (183, 200)])
@pytest.mark.parametrize("convention", ["y", "gray"])
def test_against_scikit_image(
    size: tuple[int, int], convention: str, photograph: Callable[[str], Tensor]
) -> None:
    reference = photograph("chelsea")[..., : size[0] + 4, : size[1] + 4]
    image = (reference + torch.randn(reference.shape) * 30).clamp(0, 255).byte()
    rounded = convention == "gray"
    x, y = (luma(batch, convention, rounded)[0, 2:-2, 2:-2].numpy() for batch in (image, reference))
    scales = []
    for _ in range(5):
        scales.append(ssim_and_structure(x, y))
        x, y = halve(x), halve(y)
    terms = np.array([structure for _, structure in scales[:4]] + [scales[4][0]])
    product = float(ms_ssim(image, reference, 2, convention))
    assert product == pytest.approx(np.prod(terms**WEIGHTS), rel=1e-12)
    total = float(ms_ssim(image, reference, 2, convention, pooling="sum"))
    assert total == pytest.approx((terms * WEIGHTS).sum() / WEIGHTS.sum(), rel=1e-12)


def test_a_negative_of_the_image_has_no_real_power() -> None:
    reference = torch.rand(1, 1, 176, 176)
    assert float(ms_ssim(1 - reference, reference)) == 0
    assert float(ms_ssim(1 - reference, reference, pooling="sum")) < 0


def test_flat_images() -> None:
    flat = torch.full((1, 1, 176, 176), 0.5)
    assert float(ms_ssim(flat, flat)) == 1
    # Nothing but the luminance of the coarsest scale differs.
    dark = float(ms_ssim(torch.zeros_like(flat), flat))
    c1 = (0.01 * 255) ** 2
    assert dark == pytest.approx((c1 / (128**2 + c1)) ** WEIGHTS[4], rel=1e-9)


def test_too_small() -> None:
    image = torch.rand(1, 3, 176, 183)
    with pytest.raises(ImageTooSmall, match=r"168 x 175 pixels are too few .* 176 x 176"):
        ms_ssim(image, image, border=4)


def test_scorer() -> None:
    scorer = MsSsim(border=1, luma="gray", pooling="sum")
    assert scorer.info.name == "ms_ssim?border=1&luma=gray&pooling=sum"
    assert scorer.info.min_side == 178
    assert scorer.info.higher_is_better
    assert (scorer.info.lowest, MsSsim().info.lowest) == (-1, 0)
    a, b = torch.rand(2, 1, 3, 178, 178)
    assert torch.equal(scorer.score(a, b), ms_ssim(a, b, 1, "gray", "sum"))
    for wrong in (lambda: MsSsim(pooling="mean"), lambda: ms_ssim(a, b, pooling="mean")):
        with pytest.raises(InvalidInput, match="'mean': it is one of product, sum"):
            wrong()
