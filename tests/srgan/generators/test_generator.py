"""Networks that must see an image as a whole, what an upscaler makes of that, and pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.device import mixed, place
from ranksrgan.contracts.errors import ImageTooLarge
from ranksrgan.srgan.foreign.fast_srgan import FastSRGAN
from ranksrgan.srgan.generators.generator import WholeImageGenerator, _as_four, picture
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


def fast_srgan() -> FastSRGAN:
    torch.manual_seed(0)
    return FastSRGAN(features=4, blocks=2)


def rrdbnet() -> RRDBNet:
    torch.manual_seed(0)
    network = RRDBNet(features=4, blocks=2, growth=2)
    with torch.no_grad():
        network.conv_last.weight.mul_(5)
        network.conv_last.bias.fill_(0.5)
    return network


SPLIT = pytest.mark.parametrize("make", [fast_srgan, rrdbnet])
WHOLE = pytest.mark.parametrize("make", [fast_srgan])


@SPLIT
def test_the_second_part_reaches_as_far_as_it_says(make) -> None:
    network = make().double().eval()
    features = torch.rand(1, 4, 13, 13, dtype=torch.float64, requires_grad=True)
    made = network.enlarge(features)[0, :, 24:, 24:]
    reach = 0
    for corner in (0, 3):
        (gradient,) = torch.autograd.grad(
            made[:, corner, corner].sum(), features, retain_graph=True
        )
        reach = max(reach, int(((gradient != 0).any(1)[0].nonzero() - 6).abs().max()))
    assert reach == network.receptive_field == 2


@SPLIT
@pytest.mark.parametrize("tile", [9, 40])
def test_tiles_change_nothing(make, tile: int) -> None:
    images = torch.rand(2, 3, 23, 31)
    with torch.no_grad():
        expected = torch.cat([make().eval()(image[None]) for image in images]).clamp(0, 1)
    assert expected.std() > 0.01
    tiled = GeneratorUpscaler(make(), tile=tile).upscale(images)
    torch.testing.assert_close(tiled, expected, rtol=0, atol=1e-6)


@WHOLE
def test_the_trunk_sees_each_image_as_a_whole(make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    network = make()
    trunk = type(network).trunk

    def watched(self: WholeImageGenerator, x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return trunk(self, x)

    monkeypatch.setattr(type(network), "trunk", watched)
    GeneratorUpscaler(network, tile=5).upscale(torch.rand(2, 3, 23, 31))
    assert seen == [(1, 3, 23, 31)] * 2


def test_fast_srgan_depends_on_the_farthest_pixel() -> None:
    """Which is why cutting an image would show: the statistics of a piece are not the image's."""
    upscaler = GeneratorUpscaler(fast_srgan(), tile=8)
    image = torch.rand(1, 3, 40, 60)
    other = image.clone()
    other[..., 30:, 50:] = 1
    difference = (upscaler.upscale(image) - upscaler.upscale(other))[..., :4, :4].abs().max()
    assert difference > 1e-4


@WHOLE
def test_an_image_too_large_for_the_trunk_is_refused_with_what_it_needs(make) -> None:
    network = make()
    side = 1 + int((2**20 / network.trunk_bytes_per_pixel) ** 0.5)
    images = torch.rand(1, 3, side, side)
    with pytest.raises(ImageTooLarge, match=r"as a whole.* need memory=2 \(MiB\), and 1 are"):
        GeneratorUpscaler(make(), memory=2**20).upscale(images)
    # A tile's size does not help; the memory that the message names does.
    with pytest.raises(ImageTooLarge, match=network.architecture) as refused:
        GeneratorUpscaler(make(), memory=2**20, tile=8).upscale(images)
    assert refused.value.field == "images"
    enlarged = GeneratorUpscaler(make(), memory=2 * 2**20).upscale(images)
    assert enlarged.shape == (1, 3, 4 * side, 4 * side)
    GeneratorUpscaler(make(), memory=2**20).upscale(images[..., 1:, 1:])


def test_a_picture_of_four_outputs_is_the_picture() -> None:
    """What a GPU computes in mixed precision: one output more, which nobody sees."""
    last = torch.nn.Conv2d(8, 3, 3, padding=1)
    features = torch.rand(2, 8, 9, 7, requires_grad=True)
    weights = torch.rand(2, 3, 9, 7)
    inputs = (features, last.weight, last.bias)
    found, expected = _as_four(last, features), picture(last, features)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, inputs, weights)
    for one, other in zip(gradients, torch.autograd.grad(expected, inputs, weights), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.cuda
def test_a_picture_in_mixed_precision_is_good_to_three_digits() -> None:
    last = place(torch.nn.Conv2d(64, 3, 3, padding=1), torch.device("cuda"))
    features = torch.rand(2, 64, 40, 40, device="cuda")
    with mixed(True, features.device):
        found = picture(last, features.bfloat16())
    assert found.dtype == torch.float32
    exact = last.double()(features.bfloat16().double())
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-3)
