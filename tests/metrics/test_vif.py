from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.steerable_pyramid import bands
from ranksrgan.metrics.vif import Vif, distortion_channel, vif

Plane = npt.NDArray[np.float64]


def test_official_values(official: Callable[[str], list[tuple[Tensor, Tensor, float]]]) -> None:
    """Of the wavelet form, with MATLAB's rgb2gray on uint8; the values have four digits."""
    for image, reference, value in official("vif"):
        assert float(vif(image, reference, luma="gray")) == pytest.approx(value, abs=5.1e-5)


def reference_vif(image: Tensor, reference: Tensor) -> float:
    """The steps and tolerances of the authors' program on bands that have a test of their own."""
    kept = there = 0.0
    for level, pair in enumerate(zip(bands(image), bands(reference), strict=True)):
        for distorted, original in zip(*pair, strict=True):
            rows, columns = (side // 3 * 3 for side in original.shape)
            y = distorted.numpy()[:rows, :columns]
            x = original.numpy()[:rows, :columns]
            window = 2 ** (4 - level) + 1

            def box(plane: Plane, window: int = window) -> Plane:
                kernel = np.ones((window, window))
                return np.asarray(correlate(plane, kernel, mode="mirror"))[1::3, 1::3]

            n = window**2
            mean_x, mean_y = box(x) / n, box(y) / n
            covariance = box(x * y) - n * mean_x * mean_y
            square_x = np.maximum(box(x * x) - n * mean_x**2, 0)
            square_y = np.maximum(box(y * y) - n * mean_y**2, 0)
            gain = covariance / (square_x + 1e-15)
            noise = (square_y - gain * covariance) / n
            gain[square_x < 1e-15] = 0
            gain[square_y < 1e-15] = 0
            noise[square_y < 1e-15] = 0
            noise = np.where(gain < 0, square_y / n, noise)
            gain = np.maximum(gain, 0)
            noise = np.maximum(noise, 1e-15)
            overlapping = np.lib.stride_tricks.sliding_window_view(x, (3, 3)).reshape(-1, 9).T
            covariance = np.cov(overlapping, bias=True)
            blocks = x.reshape(rows // 3, 3, columns // 3, 3).transpose(1, 3, 0, 2).reshape(9, -1)
            scales = (np.linalg.inv(covariance) @ blocks * blocks).sum(axis=0) / 9
            margin = int(np.ceil((window - 1) / 2 / 3))
            inside = np.s_[margin : rows // 3 - margin, margin : columns // 3 - margin]
            scales = scales.reshape(rows // 3, columns // 3)[inside]
            gain, noise = gain[inside], noise[inside]
            for eigenvalue in np.linalg.eigvalsh(covariance):
                signal = scales * eigenvalue
                kept += np.log2(1 + gain**2 * signal / (noise + 0.4)).sum()
                there += np.log2(1 + signal / 0.4).sum()
    return float(kept / there)


@pytest.mark.parametrize("size", [(72, 72), (73, 90), (110, 121)])
@pytest.mark.parametrize("convention", ["y", "gray"])
def test_against_numpy(
    size: tuple[int, int], convention: str, photograph: Callable[[str], Tensor]
) -> None:
    reference = photograph("chelsea")[..., 50 : 52 + size[0], 60 : 62 + size[1]]
    image = (reference + torch.randn(reference.shape) * 20).clamp(0, 255).byte()
    image[..., :20, :20] = 255 - reference[..., :20, :20]  # gains below 0
    x, y = (luma(i, convention, convention == "gray")[0, 1:-1, 1:-1] for i in (image, reference))
    assert float(vif(image, reference, 1, convention)) == pytest.approx(
        reference_vif(x, y), rel=1e-10
    )


def test_contrast_above_that_of_the_reference_is_more_than_one() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 0.35 + 0.3 * torch.rand(1, 1, 80, 80, generator=generator)
    assert float(vif((reference - 0.5) * 1.5 + 0.5, reference)) > 1.05
    assert float(vif((reference - 0.5) * 0.5 + 0.5, reference)) < 0.99


def test_a_flat_image_keeps_nothing() -> None:
    reference = torch.rand(1, 1, 72, 72)
    assert float(vif(torch.full_like(reference, 0.5), reference)) == 0


def test_a_flat_reference_has_nothing_to_keep() -> None:
    image = torch.rand(2, 1, 72, 72)
    reference = image.clone()
    reference[1] = 0.5
    with pytest.raises(UndefinedScore, match="reference 1 has none: it is flat") as caught:
        vif(image, reference)
    assert caught.value.field == "references"


def test_a_reference_whose_covariance_has_no_inverse() -> None:
    """Stripes: the three rows of a block are equal, and six of nine directions do not occur."""
    generator = torch.Generator().manual_seed(0)
    stripes = torch.rand(1, 1, 1, 80, generator=generator).expand(1, 1, 80, 80)
    assert float(vif(stripes, stripes)) == pytest.approx(1, abs=1e-12)
    noisy = (stripes + 0.1 * torch.randn(stripes.shape, generator=generator)).clamp(0, 1)
    assert 0.1 < float(vif(noisy, stripes)) < 0.9


def test_distortion_channel() -> None:
    x, y = torch.rand(2, 50, dtype=torch.float64)
    y = 0.7 * x + 0.1 * y
    moments = torch.stack([x.mean(), y.mean(), (x * x).mean(), (y * y).mean(), (x * y).mean()])
    gain, noise, variance = distortion_channel(moments, 1e-15)
    slope, intercept = np.polyfit(x.numpy(), y.numpy(), 1)
    assert float(gain) == pytest.approx(slope)
    assert float(noise) == pytest.approx(float((y - slope * x - intercept).square().mean()))
    assert float(variance) == pytest.approx(float(x.var(correction=0)))


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ((1, 1, 1, 3, 1), (0, 2, 0)),  # x is flat: y is noise
        ((1, 1, 3, 1, 1), (0, 0, 2)),  # y is flat: it has neither
        ((0, 0, 1, 2, -1), (0, 2, 1)),  # y against x: a gain of 0, all of it noise
        ((0, 0, 1, 1, 1), (1, 0, 1)),  # the same
    ],
)
def test_distortion_channel_at_its_limits(
    moments: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    found = distortion_channel(torch.tensor(moments, dtype=torch.float64), 1e-10)
    assert [float(value) for value in found] == list(expected)


def test_too_small() -> None:
    image = torch.rand(1, 3, 79, 100)
    with pytest.raises(ImageTooSmall, match=r"71 x 92 pixels are too few .* VIF: 72 x 72"):
        vif(image, image, border=4)


def test_scorer() -> None:
    scorer = Vif(border=1, luma="gray")
    assert scorer.info.name == "vif?border=1&luma=gray"
    assert scorer.info.min_side == 74
    assert scorer.info.higher_is_better
    a, b = torch.rand(2, 1, 3, 80, 80)
    assert torch.equal(scorer.score(a, b), vif(a, b, 1, "gray"))
