from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.architectures import save_generator
from ranksrgan.srgan.discriminators import (
    VGGDiscriminator,
    load_discriminator,
    save_discriminator,
)


def test_parameters_are_the_published_ones_with_a_pooled_head() -> None:
    network = VGGDiscriminator()
    fixed_head, pooled_head = 512 * 9 * 9 * 100, 512 * 100
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 17_827_401 - fixed_head + pooled_head
    state = network.state_dict()
    assert len(state) == 60
    biased = {key.rpartition(".")[0] for key in state if key.startswith("conv") and "bias" in key}
    assert biased == {"conv0_0"}
    assert state["linear1.weight"].shape == (100, 512)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (100, 296)])
def test_any_crop_size_and_shape(size: tuple[int, int]) -> None:
    assert VGGDiscriminator(2)(torch.rand(3, 3, *size)).shape == (3, 1)


def test_the_whole_crop_counts() -> None:
    network = VGGDiscriminator(2).eval()
    image = torch.rand(1, 3, 64, 160, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(image).sum(), image)
    assert (gradient.abs().sum(dim=(0, 1)) > 0).float().mean() > 0.99


def test_the_forward_pass_layer_by_layer() -> None:
    network = VGGDiscriminator(2)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.rand(4, 3, 64, 64)
    found = network(x)
    for stage in range(5):
        for j in range(2):
            name = f"{stage}_{j}"
            bias = state.get(f"conv{name}.bias")
            x = F.conv2d(x, state[f"conv{name}.weight"], bias, stride=j + 1, padding=1)
            if name != "0_0":
                mean = x.mean((0, 2, 3), keepdim=True)
                x = (x - mean) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
                x = x * state[f"bn{name}.weight"].view(1, -1, 1, 1)
                x = x + state[f"bn{name}.bias"].view(1, -1, 1, 1)
            x = torch.where(x > 0, x, 0.2 * x)
    x = F.linear(x.mean((2, 3)), state["linear1.weight"], state["linear1.bias"])
    x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(
        found, F.linear(x, state["linear2.weight"], state["linear2.bias"]), rtol=1e-4, atol=1e-5
    )


def test_too_small_a_crop_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 pixels or more, not 64 x 31"):
        VGGDiscriminator(2)(torch.rand(2, 3, 31, 64))
    with pytest.raises(InvalidInput, match="width is 0"):
        VGGDiscriminator(0)


def test_round_trip_and_refusal(tmp_path: Path, lively) -> None:
    network = VGGDiscriminator(3)
    network(torch.rand(2, 3, 64, 64))  # moves the running statistics
    save_discriminator(tmp_path / "d.safetensors", network, {"step": 1})
    loaded = load_discriminator(tmp_path / "d.safetensors")
    assert loaded.options == {"width": 3}
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    save_generator(tmp_path / "g.safetensors", lively(), {})
    with pytest.raises(InvalidCheckpoint, match="holds a generator; a discriminator is wanted"):
        load_discriminator(tmp_path / "g.safetensors")
