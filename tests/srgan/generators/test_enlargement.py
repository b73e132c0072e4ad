from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ranksrgan.metrics import Bicubic
from ranksrgan.srgan.generators.enlargement import enlarge_by, filters

scales = pytest.mark.parametrize("scale", [2, 3, 4])


@scales
@pytest.mark.parametrize("size", [(7, 9), (1, 8), (1, 1)])
def test_linear_is_the_bilinear_resize_of_torch(scale: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    found = enlarge_by(filters("linear", scale).double(), x)
    expected = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@scales
def test_cubic_is_matlabs_inside_of_the_border(scale: int) -> None:
    x = torch.rand(1, 3, 16, 13)
    found = enlarge_by(filters("cubic", scale), x)
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    expected = Bicubic(scale).upscale(x)
    torch.testing.assert_close(found[inside].clamp(0, 1), expected[inside], rtol=0, atol=1e-5)


@scales
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_flat_stays_flat_and_every_pixel_is_made_alike(kind, scale: int) -> None:
    weights = filters(kind, scale)
    torch.testing.assert_close(weights.sum(dim=(1, 2, 3)), torch.ones(scale**2))
    x = torch.rand(1, 1, 9, 9)
    far = F.pad(x, (2000, 0, 0, 0), mode="replicate")
    # To the bit: an enlargement by computed positions differs with the place.
    assert torch.equal(
        enlarge_by(weights, x)[..., 3 * scale :], enlarge_by(weights, far)[..., 2003 * scale :]
    )
