from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet


@pytest.mark.parametrize(("scale", "count"), [(2, 1_406_787), (3, 1_591_427), (4, 1_554_499)])
def test_parameter_counts_are_the_published_ones(scale: int, count: int) -> None:
    assert sum(p.numel() for p in SRResNet(scale=scale).parameters()) == count


def test_keys_and_shapes_are_the_official_ones() -> None:
    state = SRResNet().state_dict()
    names = ["conv_first", "LRconv", "upconv1", "upconv2", "HRconv", "conv_last"]
    names += [f"recon_trunk.{i}.conv{j}" for i in range(16) for j in (1, 2)]
    assert set(state) == {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    assert len(state) == 76
    assert state["upconv1.weight"].shape == (256, 64, 3, 3)
    assert state["conv_last.weight"].shape == (3, 64, 3, 3)


@pytest.mark.parametrize("as_published", [False, True])
def test_how_the_convolutions_start(as_published: bool) -> None:
    for key, value in SRResNet(as_published=as_published).state_dict().items():
        if as_published and key.startswith("LRconv"):
            bound = 1 / value[0].numel() ** 0.5 if key.endswith("weight") else 1 / 24
            assert 0.9 * bound < value.abs().max() <= bound  # the framework's default is uniform
        elif key.endswith("bias"):
            assert not value.any()
        else:
            small = as_published or key.startswith(("recon_trunk", "conv_last"))
            he = (2 / value[0].numel()) ** 0.5
            assert value.std() == pytest.approx((0.1 if small else 1.0) * he, rel=0.1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 3])
def test_receptive_field_is_the_support_of_the_gradient(scale: int, blocks: int, lively) -> None:
    network = lively(features=6, blocks=blocks, scale=scale).double()
    centre = 12
    seen = torch.zeros(25, 25, dtype=torch.bool)
    for row in range(scale):
        for column in range(scale):
            x = torch.rand(1, 3, 25, 25, dtype=torch.float64, requires_grad=True)
            enlarged = network(x)
            assert enlarged.shape == (1, 3, 25 * scale, 25 * scale)
            value = enlarged[0, :, centre * scale + row, centre * scale + column].sum()
            seen |= (torch.autograd.grad(value, x)[0] != 0).any(1)[0]
    reached = (seen.nonzero() - centre).abs().max()
    assert reached == network.receptive_field == 2 * blocks + 4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_forward_pass_is_the_published_graph(scale: int, lively) -> None:
    network = lively(features=4, blocks=2, scale=scale)
    state = network.state_dict()

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return torch.nn.functional.conv2d(x, weight, bias, padding=1)

    x = torch.rand(2, 3, 7, 5)
    first = y = conv("conv_first", x)
    for i in range(2):
        y = y + conv(f"recon_trunk.{i}.conv2", conv(f"recon_trunk.{i}.conv1", y).relu())
    y = conv("LRconv", y) + first
    for number, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale], 1):
        y = torch.nn.functional.pixel_shuffle(conv(f"upconv{number}", y), factor).relu()
    expected = conv("conv_last", conv("HRconv", y).relu())
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_the_picture_is_made_in_float32_even_under_autocast(lively) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        enlarged = lively(scale=2)(torch.rand(1, 3, 8, 8))
    assert enlarged.dtype == torch.float32
    assert (enlarged != enlarged.bfloat16()).any()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_round_trip_through_safetensors_and_pth(scale: int, tmp_path: Path, lively) -> None:
    network = lively(features=6, blocks=3, scale=scale)
    save_generator(tmp_path / "g.safetensors", network, {"step": 7})
    torch.save({"params": network.state_dict()}, tmp_path / "g.pth")
    for name in ("g.safetensors", "g.pth"):
        loaded = load_generator(tmp_path / name)
        assert isinstance(loaded, SRResNet)
        assert loaded.options == {"features": 6, "blocks": 3, "scale": scale}
        for key, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)


@pytest.mark.parametrize(("scale", "tail"), [(2, (2, 5, 7)), (3, (2, 5, 7)), (4, (2, 5, 8, 10))])
def test_keys_of_the_first_generation_are_renamed(
    scale: int, tail: tuple[int, ...], lively
) -> None:
    network = lively(features=4, blocks=3, scale=scale)
    names = ["upconv1", "upconv2", "HRconv", "conv_last"]
    names = names if scale == 4 else [names[0], *names[2:]]
    old_of = {"conv_first": "model.0", "LRconv": "model.1.sub.3"}
    old_of |= {name: f"model.{number}" for name, number in zip(names, tail, strict=True)}
    for i in range(3):
        old_of[f"recon_trunk.{i}.conv1"] = f"model.1.sub.{i}.res.0"
        old_of[f"recon_trunk.{i}.conv2"] = f"model.1.sub.{i}.res.2"
    state = network.state_dict()
    old = {
        f"{old_of[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state.items()
    }
    renamed = SRResNet.modern_keys(old)
    assert renamed.keys() == state.keys()
    assert all(renamed[key] is state[key] for key in state)
    assert SRResNet.modern_keys(state) == state
    fitting = SRResNet.fitting(renamed)
    assert fitting is not None
    assert fitting.options == {"features": 4, "blocks": 3, "scale": scale}


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="scale is 8"):
        SRResNet(scale=8)
    with pytest.raises(InvalidInput, match="at least 1"):
        SRResNet(features=0)
