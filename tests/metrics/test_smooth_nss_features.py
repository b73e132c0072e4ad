from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.nss_features import nss_features
from ranksrgan.metrics.smooth_nss_features import (
    smooth_nss_features,
    straight_through_nss_features,
)

Load = Callable[[str], Tensor]


@pytest.fixture
def image(photograph: Load) -> Tensor:
    part = photograph("astronaut")[..., 100:300, 150:342].double() / 255
    return part * 0.98 + 0.01 + 1e-3 * torch.rand_like(part)


@pytest.mark.parametrize("luma", ["y", "gray"])
def test_neighbours_of_the_published_features(photograph: Load, luma: str) -> None:
    image = photograph("coffee")
    found, expected = smooth_nss_features(image, 4, luma), nss_features(image, 4, luma)
    assert found.shape == expected.shape == (1, 24, 36)
    off = (found - expected).abs().flatten()
    assert float(off.median()) < 2e-3
    assert float(off.quantile(0.9)) < 0.03  # the rest are blocks whose only texture is rounding


def test_whole_levels_of_one_channel_differ_by_the_table_alone(photograph: Load) -> None:
    image = photograph("camera")
    torch.testing.assert_close(
        smooth_nss_features(image), nss_features(image), rtol=2e-3, atol=6e-4
    )


def test_a_batch_is_its_images_to_the_bit(image: Tensor) -> None:
    images = torch.cat([image, image.flip(3), image.flip(2), image / 2, image.sqrt()])
    together = smooth_nss_features(images, 3)
    alone = torch.cat([smooth_nss_features(images[k : k + 1], 3) for k in range(5)])
    assert torch.equal(together, alone)


def test_an_image_without_a_block() -> None:
    assert smooth_nss_features(torch.rand(2, 3, 99, 400), 2).shape == (2, 0, 36)
    with pytest.raises(ImageTooSmall):
        smooth_nss_features(torch.rand(2, 3, 6, 6), 3)


def test_straight_through_is_the_published_value_and_the_smooth_slope(image: Tensor) -> None:
    images = torch.cat([image, image.flip(3)]).requires_grad_()
    weights = torch.randn(2, 4, 36, dtype=torch.float64)
    found = straight_through_nss_features(images)
    assert torch.equal(found, nss_features(images))
    (slope,) = torch.autograd.grad((found * weights).sum(), images)
    (smooth,) = torch.autograd.grad((smooth_nss_features(images) * weights).sum(), images)
    torch.testing.assert_close(slope, smooth, rtol=1e-10, atol=1e-13)
    assert float(slope[..., 192:, :].abs().max()) == 0  # no whole block


def test_gaps_have_no_slope(image: Tensor) -> None:
    half = image.clone()
    half[..., :96] = 0.5
    half.requires_grad_()
    features = straight_through_nss_features(half)
    flat = features.isnan().any(2)[0]
    assert flat.tolist() == [True, False, True, False]
    (slope,) = torch.autograd.grad(features.where(features.isfinite(), 0.0).sum(), half)
    assert bool(slope.isfinite().all())
    assert float(slope[..., :192, 110:].abs().max()) > 0


def test_a_second_derivative_is_refused(image: Tensor) -> None:
    image.requires_grad_()
    features = straight_through_nss_features(image)
    (slope,) = torch.autograd.grad(features.square().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_bad_input() -> None:
    with pytest.raises(ImageTooSmall, match="border of 4"):
        straight_through_nss_features(torch.rand(1, 3, 100, 100), 4)
    with pytest.raises(InvalidInput, match="border"):
        straight_through_nss_features(torch.rand(1, 3, 100, 100), -1)
