"""The two-view network: the published layers and graph, views, and where a trunk comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.conversion import convert
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.generators.generator import Views
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet

#: Layers of the published projector, written down once more.
BLOCKS = [f"{branch}.{i}" for branch in ("branch1", "branch2", "sm") for i in range(3)]
PROJECTOR = [f"{block}.{conv}" for block in BLOCKS for conv in ("block.0", "block.2", "conv")]
PROJECTOR += ["tail_conv1", "tail_conv2"]


def small(scale: int = 4) -> TwoViewRRDBNet:
    """Every weight shows in the result."""
    torch.manual_seed(0)
    network = TwoViewRRDBNet(features=6, blocks=2, growth=3, scale=scale)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = (1.5 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.2
            parameter.normal_(std=spread)
    return network.eval()


@pytest.fixture(scope="module")
def official() -> TwoViewRRDBNet:
    """Of the official size, without memory behind it."""
    with torch.device("meta"):
        return TwoViewRRDBNet()


def test_the_keys_are_the_official_ones(official: TwoViewRRDBNet) -> None:
    with torch.device("meta"):
        trunk = RRDBNet().state_dict()
    assert len(PROJECTOR) == 29
    projector = {f"{name}.{part}" for name in PROJECTOR for part in ("weight", "bias")}
    assert set(official.state_dict()) == set(trunk) | projector
    assert len(official.state_dict()) == 702 + 58


@pytest.mark.parametrize("scale", [4, 1])
def test_the_forward_pass_is_the_published_graph(scale: int) -> None:
    network = small(scale).double()
    state = network.state_dict()

    def conv(name: str, x: Tensor, slope: float = 1.0) -> Tensor:
        weight = state[f"{name}.weight"]
        y = F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[2] // 2)
        return torch.where(y > 0, y, slope * y)

    def branch(name: str, x: Tensor) -> Tensor:
        for i in range(3):
            y = conv(f"{name}.{i}.block.2", conv(f"{name}.{i}.block.0", x, 0.2), 0.2)
            x = y + conv(f"{name}.{i}.conv", x)
        return x

    x = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    y = network.trunk(x)  # an RRDBNet's, which has a test of its own
    for name in ("upconv1", "upconv2"):
        larger = y.repeat_interleave(2, 2).repeat_interleave(2, 3) if scale == 4 else y
        y = conv(name, larger, 0.2)
    middle = conv("conv_last", conv("HRconv", y, 0.2))
    exps = branch("sm", middle).exp()
    mask = exps / exps.sum(1, keepdim=True)
    first = conv("tail_conv1", mask * branch("branch1", middle))
    second = conv("tail_conv2", (1 - mask) * branch("branch2", middle))
    assert first.shape == (2, 3, 7 * scale, 5 * scale)

    torch.testing.assert_close(network(x), first + second, rtol=1e-6, atol=1e-6)
    views = network.train()(x)
    for found, expected in zip(views, (first + second, first, second), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_generator_of_one_view_shows_it_to_every_criterion() -> None:
    picture = torch.rand(1, 3, 4, 4)
    views = Views.of(picture)
    assert views.fused is views.first is views.second is picture
    assert Views.of(views) is views
    other = Views(picture, picture + 1, picture + 2)
    assert [other.view(name) is getattr(other, name) for name in other._fields] == [True] * 3


def test_an_official_file_is_recognised_and_returns_to_the_bit(tmp_path: Path) -> None:
    network = small()
    torch.save(network.state_dict(), tmp_path / "RealSR-CCL.pth")
    loaded = load_generator(tmp_path / "RealSR-CCL.pth")
    assert isinstance(loaded, TwoViewRRDBNet)
    assert loaded.options == {"features": 6, "blocks": 2, "growth": 3, "scale": 4}
    x = torch.rand(1, 3, 6, 9)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(x), network(x))
    convert(tmp_path / "RealSR-CCL.pth", tmp_path / "g.safetensors")
    convert(tmp_path / "g.safetensors", tmp_path / "back.pth", "official")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(back) == list(network.state_dict())
    assert all(torch.equal(back[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("form", ["official-old", "basicsr"])
def test_a_trunk_under_the_keys_of_another_generation_is_read(form: str, tmp_path: Path) -> None:
    network = small()
    trunk = RRDBNet(6, 2, 3)
    trunk.load_state_dict({key: network.state_dict()[key] for key in trunk.state_dict()})
    renamed = trunk.original_state(form)
    renamed = renamed.get("params", renamed)
    projector = {
        key: value
        for key, value in network.state_dict().items()
        if key.rpartition(".")[0] in PROJECTOR
    }
    torch.save({**renamed, **projector}, tmp_path / "g.pth")
    loaded = load_generator(tmp_path / "g.pth")
    assert isinstance(loaded, TwoViewRRDBNet)
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_scale_1_is_said_and_kept(tmp_path: Path) -> None:
    """Its weights are those of scale 4."""
    torch.save(small(1).state_dict(), tmp_path / "CameraSR.pth")
    assert load_generator(tmp_path / "CameraSR.pth").scale == 4
    assert load_generator(tmp_path / "CameraSR.pth", 1).scale == 1
    convert(tmp_path / "CameraSR.pth", tmp_path / "g.safetensors", scale=1)
    assert load_generator(tmp_path / "g.safetensors").scale == 1
    with pytest.raises(InvalidCheckpoint, match="scale 2: a two-view network is of scale 4, or"):
        load_generator(tmp_path / "CameraSR.pth", 2)


def test_a_projector_that_is_not_whole_is_refused_by_key(tmp_path: Path) -> None:
    state = small().state_dict()
    del state["sm.2.conv.bias"]
    torch.save(state, tmp_path / "g.pth")
    with pytest.raises(InvalidCheckpoint, match=r"fit TwoViewRRDBNet: misses sm\.2\.conv\.bias"):
        load_generator(tmp_path / "g.pth")


def test_a_trunk_is_taken_over_and_the_projector_is_new() -> None:
    network, fresh, trained = small(), small(), RRDBNet(6, 2, 3)
    network.start_trunk(trained)
    for key, value in network.state_dict().items():
        source = trained if key in trained.state_dict() else fresh
        assert torch.equal(value, source.state_dict()[key]), key
    x = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        assert torch.equal(network.trunk(x), trained.trunk(x))


@pytest.mark.parametrize(
    "other", [RRDBNet(6, 3, 3), RRDBNet(6, 2, 3, 2), SRResNet(6, 2), small()], ids=str
)
def test_what_is_no_trunk_for_it_is_refused(other: RRDBNet) -> None:
    with pytest.raises(
        InvalidInput, match=r"is no trunk for two_view.*an rrdbnet \(features 6, blocks 2"
    ) as refused:
        small().start_trunk(other)
    assert refused.value.field == "generator.trunk_weights"
