from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts.assets import get_asset
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.metrics.backbones import AlexNet, Backbone, SqueezeNet, Vgg16, load_backbone

NETWORKS = [AlexNet, SqueezeNet, Vgg16]
every = pytest.mark.parametrize("network", NETWORKS)


@pytest.mark.parametrize(
    ("network", "layers", "parameters"),
    [
        (AlexNet, [0, 3, 6, 8, 10], 2_469_696),
        (SqueezeNet, [0, 3, 4, 6, 7, 9, 10, 11, 12], 722_496),
        (Vgg16, [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], 14_714_688),
    ],
)
def test_parameters_have_the_names_and_number_of_torchvisions(
    network: type[Backbone], layers: list[int], parameters: int
) -> None:
    state = network().state_dict()
    assert sorted({int(key.split(".")[1]) for key in state}) == layers
    assert all(key.startswith("features.") for key in state)
    assert sum(value.numel() for value in state.values()) == parameters


def test_squeezenet_names_the_parts_of_its_fires() -> None:
    state = SqueezeNet().state_dict()
    assert state["features.6.squeeze.weight"].shape == (32, 128, 1, 1)
    assert state["features.6.expand1x1.bias"].shape == (128,)
    assert state["features.6.expand3x3.weight"].shape == (128, 32, 3, 3)


@every
def test_the_taps(network: type[Backbone]) -> None:
    with torch.no_grad():
        found = network()(torch.rand(1, 3, 65, 70))
    assert tuple(features.shape[1] for features in found) == network.widths
    assert len(found) == len(network.taps)
    assert all(float(features.min()) >= 0 for features in found)  # after a ReLU
    heights = [features.shape[2] for features in found]
    assert heights == sorted(heights, reverse=True)


@every
def test_the_smallest_image(network: type[Backbone]) -> None:
    side = network.min_side
    assert all(features.numel() for features in network()(torch.rand(1, 3, side, side)))
    with pytest.raises(RuntimeError):
        network()(torch.rand(1, 3, side - 1, side))


def test_vgg16_pools_as_it_is_told() -> None:
    channels: list[int] = []

    def pool(width: int) -> nn.Module:
        channels.append(width)
        return nn.AvgPool2d(2)

    network = Vgg16(pool)
    assert channels == [64, 128, 256, 512]
    assert [n for n, layer in enumerate(network.features) if isinstance(layer, nn.AvgPool2d)] == [
        4,
        9,
        16,
        23,
    ]


def with_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"classifier.1.weight": torch.rand(4, 4), "classifier.1.bias": torch.rand(4)}


@every
def test_loading_with_or_without_the_classifier(network: type[Backbone], tmp_path: Path) -> None:
    original = network()
    torch.save(with_classifier(original.state_dict()), tmp_path / "whole.pth")
    save_weights(
        tmp_path / "features.safetensors",
        original.state_dict(),
        kind="backbone",
        architecture="",
        options={},
    )
    for name in ("whole.pth", "features.safetensors"):
        loaded = load_backbone(network(), tmp_path / name)
        for key, value in original.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_published_weights_fit(published_weights: Path) -> None:
    for network, asset in ((AlexNet(), "alexnet"), (SqueezeNet(), "squeezenet")):
        load_backbone(network, published_weights / get_asset(asset).file)


def test_wrong_files(tmp_path: Path) -> None:
    torch.save(AlexNet().state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(InvalidCheckpoint, match=r"alexnet.pth does not fit Vgg16: misses features"):
        load_backbone(Vgg16(), tmp_path / "alexnet.pth")
    torch.save({"classifier.weight": torch.rand(2)}, tmp_path / "head.pth")
    with pytest.raises(InvalidCheckpoint, match=r"head.pth does not fit AlexNet: misses features"):
        load_backbone(AlexNet(), tmp_path / "head.pth")
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        load_backbone(AlexNet(), tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(InvalidCheckpoint, match=r"text\.pth is"):
        load_backbone(AlexNet(), tmp_path / "text.pth")
