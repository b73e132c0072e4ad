from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.msrresnet import MSRResNet


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_parameter_counts_are_the_published_ones(scale: int, count: int) -> None:
    assert sum(p.numel() for p in MSRResNet(scale=scale).parameters()) == count


def test_keys_are_those_of_basicsr() -> None:
    names = ["conv_first", "upconv1", "upconv2", "conv_hr", "conv_last"]
    names += [f"body.{i}.conv{j}" for i in range(16) for j in (1, 2)]
    assert set(MSRResNet().state_dict()) == {f"{n}.{p}" for n in names for p in ("weight", "bias")}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_forward_pass_is_the_published_graph(scale: int) -> None:
    torch.manual_seed(0)
    network = MSRResNet(4, 2, scale).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = network.state_dict()

    def conv(name: str, x: Tensor, slope: float = 1.0) -> Tensor:
        y = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        return torch.where(y > 0, y, slope * y)

    x = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    y = conv("conv_first", x, 0.1)
    for i in range(2):
        y = y + conv(f"body.{i}.conv2", conv(f"body.{i}.conv1", y, 0.0))
    for number, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale], 1):
        y = F.pixel_shuffle(conv(f"upconv{number}", y), factor)
        y = torch.where(y > 0, y, 0.1 * y)
    y = conv("conv_last", conv("conv_hr", y, 0.1))
    base = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), y + base, rtol=1e-6, atol=1e-6)


def test_it_starts_near_the_bilinear_picture() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 12, 12)
    base = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    with torch.no_grad():
        published = (MSRResNet(16, 4, as_published=True)(x) - base).abs().max()
        ours = (MSRResNet(16, 4)(x) - base).abs().max()
    assert published < 1e-3 < ours < 1


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="scale is 8"):
        MSRResNet(scale=8)
    with pytest.raises(InvalidInput, match="at least 1"):
        MSRResNet(blocks=0)
