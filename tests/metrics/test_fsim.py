from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.metrics.fsim import Fsim, Fsimc, fsim, fsimc
from ranksrgan.metrics.phase_congruency import phase_congruency

Plane = npt.NDArray[np.float64]


def test_official_values_are_those_with_colour(
    official: Callable[[str], list[tuple[Tensor, Tensor, float]]],
) -> None:
    """Three and four digits. Without colour it is .6973, .9998 and .9999."""
    for image, reference, value in official("fsim"):
        digits = 5.1e-4 if value == 0.689 else 5.1e-5
        assert float(fsimc(image, reference)) == pytest.approx(value, abs=digits)
    image, reference, value = official("fsim")[1]
    assert float(fsim(image, reference)) > value + 0.02


def conv2_same(plane: Plane, kernel: Plane) -> Plane:
    """MATLAB's, whose centre of an even kernel is not SciPy's."""
    top, left = (side // 2 for side in kernel.shape)
    full = np.asarray(convolve2d(plane, kernel))
    return full[top : top + plane.shape[0], left : left + plane.shape[1]]


def alike(x: Plane, y: Plane, constant: float) -> Plane:
    return (2 * x * y + constant) / (x**2 + y**2 + constant)


def reference_scores(image: Tensor, reference: Tensor) -> tuple[float, float]:
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    size = max(1, int(np.floor(min(image.shape[2:]) / 256 + 0.5)))
    kernel = np.ones((size, size)) / size**2
    scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    found = []
    for picture in (image, reference):
        planes = np.einsum("dc,chw->dhw", yiq, picture[0].double().numpy())
        luma, i, q = (conv2_same(plane, kernel)[::size, ::size] for plane in planes)
        gradient = np.hypot(conv2_same(luma, scharr), conv2_same(luma, scharr.T))
        congruency = phase_congruency(torch.from_numpy(luma.copy())[None])[0].numpy()
        found.append((congruency, gradient, i, q))
    (pc1, g1, i1, q1), (pc2, g2, i2, q2) = found
    weights = np.maximum(pc1, pc2)
    values = alike(pc1, pc2, 0.85) * alike(g1, g2, 160) * weights
    colour = (alike(i1, i2, 200) * alike(q1, q2, 200)).astype(complex) ** 0.03
    return (
        float(values.sum() / weights.sum()),
        float((values * colour.real).sum() / weights.sum()),
    )


@pytest.mark.parametrize("size", [(40, 61), (383, 385), (384, 400), (640, 645)])
def test_against_scipy(size: tuple[int, int]) -> None:
    """Averaged over 1, 1, 2 and 3 pixels; the colours are opposed in places."""
    generator = torch.Generator().manual_seed(4)
    small = torch.rand(2, 3, size[0] // 8, size[1] // 8, generator=generator)
    pair = torch.nn.functional.interpolate(small, size, mode="bilinear")
    image, reference = (pair * 255).round().byte().split(1)
    expected = reference_scores(image, reference)
    assert float(fsim(image, reference)) == pytest.approx(expected[0], rel=1e-11)
    assert float(fsimc(image, reference)) == pytest.approx(expected[1], rel=1e-11)


def test_the_border_is_cut_first() -> None:
    a, b = torch.rand(2, 1, 3, 40, 44)
    assert torch.equal(fsimc(a, b, border=3), fsimc(a[..., 3:-3, 3:-3], b[..., 3:-3, 3:-3]))


def test_grey_images_have_no_colour_to_compare() -> None:
    a, b = torch.rand(2, 1, 1, 40, 44)
    assert torch.equal(fsim(a, b), fsimc(a, b))


@pytest.mark.parametrize("side", [20, 700])
def test_two_flat_images_have_no_weights(side: int) -> None:
    image = torch.rand(1, 3, 1, 1).expand(2, 3, side, side)
    for grey in (image, image * 0.5):
        with pytest.raises(UndefinedScore, match="neither image 0 nor its reference"):
            fsim(image, grey)
    textured = torch.rand(2, 3, side, side)
    textured[1] = image[1]
    with pytest.raises(UndefinedScore, match="neither image 1"):
        fsimc(textured, image)
    assert 0 < float(fsim(textured[:1], image[:1])) < 1


def test_a_pattern_that_is_the_same_everywhere_counts_as_noise() -> None:
    stripes = torch.tensor([0.2, 0.6]).repeat(8).expand(1, 3, 16, 16)
    with pytest.raises(UndefinedScore, match="more than noise"):
        fsim(stripes, stripes.flip(3))


def test_too_small() -> None:
    image = torch.rand(1, 3, 13, 20)
    with pytest.raises(ImageTooSmall, match="5 x 12 pixels are too few for FSIM: 6 x 6"):
        fsim(image, image, border=4)


@pytest.mark.parametrize(("make", "function"), [(Fsim, fsim), (Fsimc, fsimc)])
def test_scorer(make: type[Fsim] | type[Fsimc], function: Callable[..., Tensor]) -> None:
    scorer = make(border=2)
    assert scorer.info.name == f"{make.metric}?border=2"
    assert scorer.info.min_side == 10
    assert scorer.info.higher_is_better
    a, b = torch.rand(2, 1, 3, 30, 30)
    assert torch.equal(scorer.score(a, b), function(a, b, 2))
