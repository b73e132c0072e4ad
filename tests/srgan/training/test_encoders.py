"""VGG19, its distilled form and AlexNet against plain chains of functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ranksrgan.contracts.checkpoint import Weights, load_weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidCheckpoint, InvalidConfig
from ranksrgan.srgan.training.encoders import (
    AlexNetFeatures,
    DistilledVGG19Features,
    Encoder,
    Vgg19,
    VGG19Features,
)
from ranksrgan.srgan.training.features import FeatureNetwork

# torchvision's indices of the convolutions, written out from its model definition.
INDICES = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
LAYERS = [f"{block}_{i + 1}" for block, size in enumerate([2, 2, 4, 4, 4], 1) for i in range(size)]
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def vgg19_by_hand(
    tensors: dict[str, torch.Tensor], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    x = (images - MEAN) / STD
    found = {}
    for index, layer in zip(INDICES, LAYERS, strict=True):
        if layer in {"2_1", "3_1", "4_1", "5_1"}:
            x = F.max_pool2d(x, 2, 2)
        weight, bias = (tensors[f"features.{index}.{part}"] for part in ("weight", "bias"))
        x = found[f"conv{layer}"] = F.conv2d(x, weight, bias, padding=1)
        x = found[f"relu{layer}"] = x.relu()
    return found


def distilled_by_hand(
    tensors: dict[str, torch.Tensor], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    x = F.conv2d(images, tensors["conv0.weight"], tensors["conv0.bias"])
    found = {}
    for layer in LAYERS[:13]:
        if layer in {"2_1", "3_1", "4_1", "5_1"}:
            x = F.max_pool2d(x, 2, 2)
        key = f"conv{layer.replace('_', '')}"
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        x = found[f"conv{layer}"] = F.conv2d(x, tensors[f"{key}.weight"], tensors[f"{key}.bias"])
        x = found[f"relu{layer}"] = x.relu()
    return found


def alexnet_by_hand(
    tensors: dict[str, torch.Tensor], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    x = (images - MEAN) / STD
    found = {}
    layers = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
    for number, (index, stride, padding) in enumerate(layers, 1):
        if number in (2, 3):
            x = F.max_pool2d(x, 3, 2)
        weight, bias = (tensors[f"features.{index}.{part}"] for part in ("weight", "bias"))
        x = found[f"conv{number}"] = F.conv2d(x, weight, bias, stride, padding)
        x = found[f"relu{number}"] = x.relu()
    return found


CASES = {
    "vgg19": (VGG19Features, vgg19_by_hand, ("conv5_4",)),
    "vgg19_distilled": (DistilledVGG19Features, distilled_by_hand, ("relu4_4",)),
    "alexnet": (AlexNetFeatures, alexnet_by_hand, tuple(f"relu{i}" for i in range(1, 6))),
}
ByHand = Callable[[dict[str, torch.Tensor], torch.Tensor], dict[str, torch.Tensor]]
Case = tuple[type[Encoder], ByHand, tuple[str, ...], Weights]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, encoder_files: dict[str, Path]) -> Case:
    return (*CASES[request.param], load_weights(encoder_files[request.param]))


def test_every_layer_before_and_after_its_activation(case: Case) -> None:
    network, by_hand, _, weights = case
    images = torch.rand(2, 3, 48, 35)
    expected = by_hand(weights.tensors, images)
    every = network(weights, list(expected)).extract(images)
    assert list(every) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(every[layer], value, rtol=1e-4, atol=1e-5)
        alone = network(weights, [layer]).extract(images)
        assert list(alone) == [layer]
        torch.testing.assert_close(alone[layer], value, rtol=1e-4, atol=1e-5)


def test_the_usual_layers_and_no_layer_behind_them(case: Case) -> None:
    network, by_hand, usual, weights = case
    images = torch.rand(1, 3, 40, 32)
    encoder = network(weights)
    assert isinstance(encoder, FeatureNetwork)
    expected = by_hand(weights.tensors, images)
    found = encoder.extract(images)
    assert tuple(found) == usual
    for layer in usual:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-4, atol=1e-5)
    assert list(encoder.chain)[-1] == usual[-1]
    assert network(weights, ["conv2_1" if "5_4" in expected else list(expected)[2]]).name != (
        encoder.name
    )


def test_it_is_frozen_but_carries_gradients_to_the_images(case: Case) -> None:
    network, by_hand, usual, weights = case
    encoder = network(weights).train()
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    found = torch.autograd.grad(encoder.extract(images)[usual[-1]].square().sum(), images)[0]
    wanted = by_hand(weights.tensors, images)[usual[-1]].square().sum()
    expected = torch.autograd.grad(wanted, images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_what_is_wrong_is_named(case: Case) -> None:
    network, by_hand, _, weights = case
    with pytest.raises(InvalidConfig, match=r"conv6_1 is no layer of .*it has conv1") as refused:
        network(weights, ["conv6_1"])
    assert refused.value.field == "losses.perceptual.layers"
    with pytest.raises(ImageTooSmall, match=f"takes {network.min_side} x {network.min_side}"):
        network(weights).extract(torch.rand(1, 3, 40, network.min_side - 1))
    smallest = torch.rand(1, 3, network.min_side, network.min_side)
    last = list(by_hand(weights.tensors, smallest))[-1]
    assert network(weights, [last]).extract(smallest)[last].numel() > 0
    key = next(iter(weights.tensors))
    del weights.tensors[key]
    with pytest.raises(InvalidCheckpoint, match=r"does not fit .*: misses"):
        network(weights)


def test_vgg19_has_its_published_size() -> None:
    """torchvision's VGG19 has 143,667,240 parameters, 123,642,856 of them in the classifier."""
    assert sum(parameter.numel() for parameter in Vgg19().parameters()) == 20_024_384


def test_the_distilled_network_sees_mean_subtracted_bgr(shared_data: Path) -> None:
    path = shared_data / "weights" / "perceptual" / "vgg19_distilled16x_relu5_1.pth"
    weights = load_weights(path)
    to_bgr = DistilledVGG19Features(weights).chain["to_bgr"]
    colours = torch.rand(1, 3, 4, 4)
    caffe = 255 * colours.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        to_bgr(colours), caffe, rtol=0, atol=1.5
    )  # it was trained on, a little


def test_real_features_tell_a_blurred_photograph_by_how_much(shared_data: Path) -> None:
    """The distance from the original grows with the blur, in every encoder that is here."""
    from ranksrgan.contracts.images import read_image
    from ranksrgan.srgan.losses import perceptual_loss

    folder = shared_data / "weights" / "perceptual"
    picture = read_image(shared_data / "images" / "set5" / "bird.png")
    hr = torch.from_numpy(picture.colour[:128, :128].copy()).permute(2, 0, 1)[None].float() / 255
    encoders = [
        DistilledVGG19Features(load_weights(folder / "vgg19_distilled16x_relu5_1.pth")),
        AlexNetFeatures(load_weights(folder / "alexnet_features.pth")),
    ]
    for encoder in encoders:
        distances = []
        for size in (1, 3, 5, 9):
            mirrored = F.pad(hr, (size // 2,) * 4, mode="reflect")
            blurred = F.avg_pool2d(mirrored, size, stride=1)
            distances.append(perceptual_loss(blurred, hr, encoder, "l1").item())
        assert distances[0] == 0
        assert distances == sorted(distances)
        assert len(set(distances)) == 4
