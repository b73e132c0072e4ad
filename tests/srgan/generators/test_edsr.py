from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.generators.edsr import EDSR

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])


def official(blocks: int = 2, features: int = 4, scale: int = 4) -> dict[str, Tensor]:
    """A state dict with the official names, which a network of theirs would have."""
    random = torch.Generator().manual_seed(0)
    factors = {2: [2], 3: [3], 4: [2, 2]}[scale]
    shapes = {"head.0": (features, 3), f"body.{blocks}": (features, features)}
    for i in range(blocks):
        shapes |= {f"body.{i}.body.{j}": (features, features) for j in (0, 2)}
    for i, factor in enumerate(factors):
        shapes[f"tail.0.{2 * i}"] = (features * factor**2, features)
    shapes["tail.1"] = (3, features)
    state = {}
    for name, (outputs, inputs) in shapes.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=random) / 6
        state[f"{name}.bias"] = torch.randn(outputs, generator=random)
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{name}.bias"] = sign * 255 * MEAN
    return state


def published_graph(state: dict[str, Tensor], x: Tensor, blocks: int, scaling: float) -> Tensor:
    """What the official network makes of RGB in 0 to 255."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"].double()
        return F.conv2d(x, weight, state[f"{name}.bias"].double(), padding=weight.shape[2] // 2)

    first = y = conv("head.0", conv("sub_mean", x))
    for i in range(blocks):
        y = y + scaling * conv(f"body.{i}.body.2", conv(f"body.{i}.body.0", y).relu())
    y = first + conv(f"body.{blocks}", y)
    for index in (0, 2):
        if f"tail.0.{index}.weight" in state:
            y = conv(f"tail.0.{index}", y)
            y = F.pixel_shuffle(y, {4: 2, 9: 3}[y.shape[1] // first.shape[1]])
    return conv("add_mean", conv("tail.1", y))


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_parameter_counts_are_the_published_ones(scale: int, count: int) -> None:
    assert sum(p.numel() for p in EDSR(scale=scale).parameters()) == count


def test_the_full_edsr_is_the_published_one() -> None:
    with torch.device("meta"):
        network = EDSR(256, 32, 2)
    assert sum(p.numel() for p in network.parameters()) == 40_729_603  # the paper: 43M at x4
    assert network.options["residual_scaling"] == 0.1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_official_file_gives_the_official_picture(scale: int, tmp_path: Path) -> None:
    state = official(scale=scale)
    torch.save(state, tmp_path / "edsr.pth")
    network = load_generator(tmp_path / "edsr.pth").double()
    assert isinstance(network, EDSR)
    assert network.options == {"features": 4, "blocks": 2, "scale": scale, "residual_scaling": 1.0}
    x = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    expected = published_graph(state, 255 * x, 2, 1.0) / 255
    assert expected.std() > 0.01
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_the_residual_scaling_is_that_of_the_size_or_of_the_file() -> None:
    state = official(features=4)
    fitting = EDSR.fitting(EDSR.modern_keys(state), {"residual_scaling": 0.3})
    assert fitting is not None
    fitting.load_state_dict(EDSR.modern_keys(state))
    x = torch.rand(1, 3, 5, 5, dtype=torch.float64)
    expected = published_graph(state, 255 * x, 2, 0.3) / 255
    torch.testing.assert_close(fitting.double()(x), expected, rtol=1e-5, atol=1e-6)
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="residual_scaling"):
            EDSR(4, 1, residual_scaling=wrong)
    with pytest.raises(InvalidCheckpoint, match="residual_scaling is 'a lot'"):
        EDSR.fitting(EDSR.modern_keys(state), {"residual_scaling": "a lot"})


def test_another_mean_or_range_is_refused_by_name(tmp_path: Path) -> None:
    state = official()
    state["sub_mean.bias"] = state["sub_mean.bias"] / 255  # of a network for 0 to 1
    torch.save(state, tmp_path / "edsr.pth")
    with pytest.raises(InvalidCheckpoint, match=r"has unknown sub_mean\.bias"):
        load_generator(tmp_path / "edsr.pth")
