from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall, InvalidCheckpoint, InvalidInput
from ranksrgan.metrics.backbones import AlexNet
from ranksrgan.ranker.quality.backbones.backbone import BACKBONES, Backbone
from ranksrgan.ranker.quality.backbones.blur_pool import BlurPool, blurred_maximum

ALEXNET = Path("weights", "perceptual", "alexnet_features.pth")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # torchvision's counts without the classifier.
        ("resnet18", 11_689_512 - (512 + 1) * 1000),
        ("resnet50", 25_557_032 - (2048 + 1) * 1000),
        ("vgg16", 14_714_688),
        ("alexnet", 2_469_696),
        ("alexnet_blur", 2_469_696),
        # By hand: the stem's convolutions and normalisations, mixed_5b's, ten Block35.
        ("inception_resnet_v2", 189_472 + 2 * 400 + 249_088 + 2 * 576 + 10 * 123_216),
    ],
)
def test_numbers_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        backbone = Backbone(name)
    assert sum(value.numel() for value in backbone.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet18", [(64, 24, 24), (128, 12, 12), (256, 6, 6), (512, 3, 3)]),
        ("resnet50", [(256, 24, 24), (512, 12, 12), (1024, 6, 6), (2048, 3, 3)]),
        ("vgg16_deep", [(512, 12, 12), (512, 12, 12), (512, 6, 6)]),
        ("inception_resnet_v2", [(320, 9, 9)] * 6),
        ("plain", [(16, 48, 48), (32, 24, 24), (64, 12, 12), (64, 6, 6)]),
    ],
)
def test_shapes_of_maps(name: str, shapes: list[tuple[int, int, int]]) -> None:
    with torch.device("meta"):
        assert Backbone(name).shapes(96) == shapes


@pytest.mark.parametrize("name", BACKBONES)
def test_reduced_width_and_smallest_image(name: str) -> None:
    backbone = Backbone(name, 4).eval()
    side = backbone.min_side
    maps = backbone(torch.rand(1, 3, side, side))
    assert [found.shape[1:] for found in maps] == backbone.shapes(side)
    assert tuple(found.shape[1] for found in maps) == backbone.widths
    with pytest.raises(ImageTooSmall, match=f"{side - 1} x {side} pixels"):
        backbone(torch.rand(1, 3, side, side - 1))


def test_keys_are_torchvisions_and_timms() -> None:
    with torch.device("meta"):
        keys = {name: set(Backbone(name).network.state_dict()) for name in BACKBONES}
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.2.conv3.weight",
        "layer4.0.downsample.0.weight",
        "layer4.0.downsample.1.running_mean",
    } <= keys["resnet50"]
    assert "layer1.0.downsample.0.weight" in keys["resnet50"]
    assert "layer1.0.downsample.0.weight" not in keys["resnet18"]
    assert {
        "conv2d_1a.conv.weight",
        "conv2d_4a.bn.running_mean",
        "mixed_5b.branch3.1.conv.weight",
        "repeat.9.branch2.2.bn.weight",
        "repeat.0.conv2d.bias",
    } <= keys["inception_resnet_v2"]
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    assert keys["vgg16"] == {f"features.{n}.{p}" for n in convolutions for p in ("weight", "bias")}
    assert keys["alexnet_blur"] == keys["alexnet"]


@pytest.mark.parametrize(
    ("name", "rest"),
    [("resnet18", "fc.weight"), ("inception_resnet_v2", "repeat_1.3.conv2d.bias")],
)
def test_published_file_loads_without_the_rest(name: str, rest: str, tmp_path: Path) -> None:
    source, target = Backbone(name, 4), Backbone(name, 4)
    tensors = {**source.network.state_dict(), rest: torch.ones(3)}
    torch.save(tensors, tmp_path / "published.pth")
    save_file(tensors, tmp_path / "published.safetensors")
    images = torch.rand(1, 3, 40, 40)
    for file in ("published.pth", "published.safetensors"):
        target.load(tmp_path / file)
        wanted, found = source.eval()(images), target.eval()(images)
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    tensors = Backbone("resnet18", 4).network.state_dict()
    torch.save({**tensors, "bogus": torch.ones(1)}, tmp_path / "unknown.pth")
    del tensors["layer2.0.conv1.weight"]
    torch.save(tensors, tmp_path / "missing.pth")
    backbone = Backbone("resnet18", 4)
    with pytest.raises(InvalidCheckpoint, match="has unknown bogus"):
        backbone.load(tmp_path / "unknown.pth")
    with pytest.raises(InvalidCheckpoint, match=r"misses layer2\.0\.conv1\.weight"):
        backbone.load(tmp_path / "missing.pth")
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        backbone.load(tmp_path / "none.pth")
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "code.pth")
    with pytest.raises(InvalidCheckpoint, match="could run code"):
        backbone.load(tmp_path / "code.pth")


def test_alexnets_published_features_load(shared_data: Path) -> None:
    backbone = Backbone("alexnet")
    backbone.load(shared_data / ALEXNET)
    state = torch.load(shared_data / ALEXNET, weights_only=True)
    image = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    weight, bias = state["features.0.weight"], state["features.0.bias"]
    wanted = F.conv2d((image - mean) / std, weight, bias, stride=4, padding=2).relu()
    assert torch.allclose(backbone(image)[0], wanted, atol=1e-5)
    blurred = Backbone("alexnet_blur")
    blurred.load(shared_data / ALEXNET)
    assert torch.equal(blurred(image)[0], backbone(image)[0])
    assert not torch.allclose(blurred(image)[1], backbone(image)[1])


def test_frozen_backbone_stays_as_it_is() -> None:
    backbone = Backbone("resnet18", 4)
    holder = nn.Sequential(backbone)
    backbone.freeze(True)
    holder.train()
    assert not backbone.network.bn1.training
    assert not any(value.requires_grad for value in backbone.parameters())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    before = backbone.network.bn1.running_mean.clone()
    backbone(images)[-1].sum().backward()
    assert torch.equal(backbone.network.bn1.running_mean, before)
    assert images.grad is not None
    assert bool(images.grad.any())
    backbone.freeze(False)
    assert backbone.network.bn1.training
    assert all(value.requires_grad for value in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "width", "field"),
    [("vgg11", 0, "backbone"), ("plain", -1, "backbone_width"), ("inception_resnet_v2", 5, None)],
)
def test_impossible_backbones(name: str, width: int, field: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        Backbone(name, width)
    assert caught.value.field == (field or "backbone_width")


def test_blur_pool_keeps_a_constant_and_removes_what_aliases() -> None:
    pool = BlurPool(2)
    assert torch.allclose(pool(torch.full((1, 2, 7, 9), 0.3)), torch.full((1, 2, 4, 5), 0.3))
    stripes = torch.arange(8).remainder(2).float().expand(1, 2, 8, 8)
    assert torch.allclose(pool(stripes)[..., 1:], torch.full((1, 2, 4, 3), 0.5))
    assert not dict(pool.state_dict())


@pytest.mark.parametrize("side", [31, 64, 65])
def test_blurred_alexnet_has_maps_of_the_same_sizes(side: int) -> None:
    images = torch.rand(1, 3, side, side)

    def sizes(network: AlexNet) -> list[torch.Size]:
        maps: list[Tensor] = network(images)
        return [found.shape for found in maps]

    assert sizes(AlexNet(blurred_maximum, 4)) == sizes(AlexNet(width=4))
