from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, InvalidInput, MissingAsset
from ranksrgan.srgan import features
from ranksrgan.srgan.features import FeatureNetwork, VGG19Features, open_feature_network

CPU = torch.device("cpu")
# torchvision's indices of the convolutions, written out from its model definition.
INDICES = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
LAYERS = [f"{block}_{i + 1}" for block, size in enumerate([2, 2, 4, 4, 4], 1) for i in range(size)]


@pytest.fixture
def slim_vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VGG19 with a sixteenth of the channels, under torchvision's keys, classifier included."""
    blocks = tuple(tuple(width // 16 for width in widths) for widths in features.VGG19_BLOCKS)
    monkeypatch.setattr(features, "VGG19_BLOCKS", blocks)
    tensors, inputs = {}, 3
    for index, outputs in zip(INDICES, [w for widths in blocks for w in widths], strict=True):
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * scale
        tensors[f"features.{index}.bias"] = torch.randn(outputs) * 0.1
        inputs = outputs
    tensors["classifier.0.weight"] = torch.zeros(2, 2)
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(tensors, path)
    save_file(tensors, tmp_path / "vgg19.safetensors")
    return path


def by_hand(path: Path, images: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = torch.load(path, weights_only=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    found = {}
    for index, layer in zip(INDICES, LAYERS, strict=True):
        if layer in {"2_1", "3_1", "4_1", "5_1"}:
            x = F.max_pool2d(x, 2, 2)
        x = F.conv2d(
            x, tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"], padding=1
        )
        found[f"conv{layer}"] = x
        x = x.relu()
    return found


def test_features_are_those_of_the_layers_before_relu(slim_vgg: Path) -> None:
    images = torch.rand(2, 3, 48, 33)
    expected = by_hand(slim_vgg, images)
    network = VGG19Features(slim_vgg, ["conv5_4", "conv2_2"])
    found = network.extract(images)
    assert set(found) == {"conv5_4", "conv2_2"}
    assert (found["conv5_4"] < 0).any()
    for layer, value in found.items():
        torch.testing.assert_close(value, expected[layer], rtol=1e-4, atol=1e-5)
    assert isinstance(network, FeatureNetwork)


def test_it_is_frozen_but_carries_gradients_to_the_images(slim_vgg: Path) -> None:
    network = VGG19Features(slim_vgg)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    network.extract(images)["conv5_4"].sum().backward()
    assert images.grad is not None
    assert images.grad.any()
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_opening_by_path_by_name_and_with_layers(
    slim_vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(1, 3, 32, 32)
    expected = by_hand(slim_vgg, images)
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(slim_vgg.parent))
    for spec in (str(slim_vgg), "vgg19", str(slim_vgg.parent / "vgg19.safetensors")):
        found = open_feature_network(spec, CPU).extract(images)
        torch.testing.assert_close(found["conv5_4"], expected["conv5_4"], rtol=1e-4, atol=1e-5)
    layered = open_feature_network("vgg19?layers=conv1_2,conv3_4", CPU)
    assert set(layered.extract(images)) == {"conv1_2", "conv3_4"}
    assert layered.name != open_feature_network("vgg19", CPU).name


def test_what_is_wrong_is_named(
    slim_vgg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(
        MissingAsset, match=r"vgg19-dcbb9e9d\.pth.*download https://.*losses\.perceptual\.weight=0"
    ):
        open_feature_network("vgg19", CPU)
    with pytest.raises(InvalidConfig, match="conv6_1 is no layer"):
        open_feature_network(f"{slim_vgg}?layers=conv6_1", CPU)
    with pytest.raises(InvalidConfig, match="depth is no option"):
        open_feature_network(f"{slim_vgg}?depth=3", CPU)
    with pytest.raises(InvalidInput):
        open_feature_network(f"{slim_vgg}?layers", CPU)
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(2, 3, 3, 3)}, other)
    with pytest.raises(InvalidCheckpoint, match=r"features\.0\.weight is missing"):
        open_feature_network(str(other), CPU)
