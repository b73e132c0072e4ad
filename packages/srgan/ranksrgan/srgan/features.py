"""Networks whose features the perceptual loss compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ranksrgan.contracts.assets import find_asset, get_asset
from ranksrgan.contracts.checkpoint import Weights, load_weights
from ranksrgan.contracts.device import place
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, MissingAsset

_WITHOUT = "or set losses.perceptual.weight=0 and losses.perceptual.network=null"

#: Channels of VGG19's convolutions, block by block; a 2x2 maximum follows each block.
VGG19_BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


@runtime_checkable
class FeatureNetwork(Protocol):
    """Anything that turns images into features worth comparing."""

    @property
    def name(self) -> str:
        """What a training writes down about it."""
        ...

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features by layer of ``(N, 3, H, W)`` RGB images in [0, 1], differentiable by them."""
        ...


class VGG19Features(nn.Module):
    """VGG19 trained on ImageNet (Simonyan and Zisserman, 2015), frozen, without its classifier.

    Args:
        path: torchvision's ``vgg19`` weights, ``.pth`` or ``.safetensors`` (keys
            ``features.N.weight``).
        layers: convolutions whose output is compared, each before its ReLU. SRGAN's perceptual
            loss, and RankSRGAN's, takes conv5_4.

    Raises:
        MissingAsset: there is no such file; the message says where to get it.
        InvalidCheckpoint: it holds something else.
        InvalidConfig: no such layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path, layers: Sequence[str] = ("conv5_4",)) -> None:
        super().__init__()
        if not path.is_file():
            raise MissingAsset(
                f"{path}: no such file. The perceptual loss wants VGG19's weights: download "
                f"{get_asset('vgg19').url} and name the file in losses.perceptual.network, "
                f"{_WITHOUT}",
                field=str(path),
            )
        self.layers = tuple(layers)
        known = {
            f"conv{block}_{number}"
            for block, widths in enumerate(VGG19_BLOCKS, 1)
            for number in range(1, len(widths) + 1)
        }
        for layer in self.layers:
            if layer not in known:
                raise InvalidConfig(
                    f"{layer} is no layer of VGG19; they run from conv1_1 to conv5_4",
                    field="losses.perceptual.network",
                )
        weights = load_weights(path)
        self.name = f"vgg19:{weights.sha256[:12]}:{','.join(self.layers)}"
        self.features = nn.ModuleDict()
        index, inputs = 0, 3
        last = max(self.layers)
        for block, widths in enumerate(VGG19_BLOCKS, 1):
            for number, outputs in enumerate(widths, 1):
                name = f"conv{block}_{number}"
                if name <= last:
                    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
                    _load(convolution, weights, index)
                    self.features[name] = convolution
                index, inputs = index + 2, outputs  # a ReLU sits between two convolutions
            index += 1  # the maximum after the block
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        x = (images - self.mean) / self.std
        for name, convolution in self.features.items():
            if name.endswith("_1") and name != "conv1_1":
                x = nn.functional.max_pool2d(x, 2)
            x = convolution(x)
            if name in self.layers:
                found[name] = x
            x = nn.functional.relu(x)
        return found

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        """See `FeatureNetwork.extract`; the images are on the device of the network."""
        return self.forward(images)


def open_feature_network(spec: str, device: torch.device) -> FeatureNetwork:
    """Open what ``losses.perceptual.network`` names.

    Args:
        spec: the path of VGG19's weights, or ``vgg19`` for the file of torchvision's name in
            ``$RANKSRGAN_ASSETS`` or the user's cache; either with ``?layers=conv2_2,conv5_4``.
        device: where it computes.

    Raises:
        MissingAsset, InvalidCheckpoint, InvalidConfig: see `VGG19Features`.
        InvalidInput: malformed options.
    """
    name, _, query = spec.partition("?")
    options = parse_options(query, spec)
    layers = options.pop("layers", "conv5_4").split(",")
    if options:
        raise InvalidConfig(
            f"{spec}: {', '.join(options)} is no option; there is layers",
            field="losses.perceptual.network",
        )
    return place(VGG19Features(_vgg19() if name == "vgg19" else Path(name), layers), device)


def _vgg19() -> Path:
    try:
        return find_asset("vgg19")
    except MissingAsset as error:
        raise MissingAsset(f"{error}, {_WITHOUT}", field=error.field) from error


def _load(convolution: nn.Conv2d, weights: Weights, index: int) -> None:
    for part, parameter in convolution.named_parameters():
        value = weights.tensors.get(f"features.{index}.{part}")
        if value is None or value.shape != parameter.shape:
            raise InvalidCheckpoint(
                f"{weights.path} is not VGG19: features.{index}.{part} is missing or of another "
                "size",
                field=str(weights.path),
            )
        parameter.data.copy_(value)
