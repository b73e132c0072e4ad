"""Networks trained to recognise things, frozen, whose inner layers the perceptual loss compares.

A layer is named as in the literature: ``conv5_4`` is a convolution's output before its activation,
``relu5_4`` after it. AlexNet's have one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import Weights, load_into
from ranksrgan.contracts.errors import ImageTooSmall, InvalidConfig
from ranksrgan.metrics.backbones import AlexNet, Backbone
from ranksrgan.srgan.generators.convolutions import convolution_relu

#: Channels of VGG19's convolutions, block by block; a 2x2 maximum follows each block.
VGG19_BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
#: Those of the network that a quarter of the width was left of. Its fifth block has one.
DISTILLED_BLOCKS = ((16, 16), (32, 32), (64,) * 4, (128,) * 4, (128,))

# Mean and deviation of ImageNet's channels.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A frozen chain of named layers, run as far as the last one that is asked for.

    Args:
        chain: the layers in order, from images in [0, 1] on.
        layers: whose outputs are wanted.
        sha256: of the weights, for the name.

    Raises:
        InvalidConfig: no such layer.
    """

    network: ClassVar[str]
    min_side: ClassVar[int]
    default_layers: ClassVar[tuple[str, ...]]
    recordable: ClassVar[bool] = True  # see `Recordable`

    def __init__(self, chain: Mapping[str, nn.Module], layers: Sequence[str], sha256: str) -> None:
        super().__init__()
        self.layers = tuple(layers) or self.default_layers
        known = [name for name in chain if name.startswith(("conv", "relu"))]
        for layer in self.layers:
            if layer not in known:
                raise InvalidConfig(
                    f"{layer} is no layer of {self.network}; it has {', '.join(known)}",
                    field="losses.perceptual.layers",
                )
        self.layers = tuple(name for name in known if name in self.layers)
        self.name = f"{self.network}:{sha256[:12]}:{','.join(self.layers)}"
        self.chain = nn.ModuleDict()
        before = ""
        for name, module in chain.items():
            if isinstance(module, nn.ReLU):
                module.inplace = before not in self.layers
            self.chain[name] = module
            if set(self.layers) <= set(self.chain):
                break
            before = name
        self._before_relu = {
            name
            for name, after in pairwise(self.chain)
            if name not in self.layers and isinstance(self.chain[after], nn.ReLU)
        }
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if min(images.shape[-2:]) < self.min_side:
            raise ImageTooSmall(
                f"images of {images.shape[-1]} x {images.shape[-2]} pixels: {self.network} takes "
                f"{self.min_side} x {self.min_side} and more",
                field="images",
            )
        found: dict[str, Tensor] = {}
        x = images
        waiting: nn.Conv2d | None = None  # for its ReLU
        for name, module in self.chain.items():
            if name in self._before_relu and isinstance(module, nn.Conv2d):
                waiting = module
                continue
            x = module(x) if waiting is None else convolution_relu(waiting, x)
            waiting = None
            if name in self.layers:
                found[name] = x
        return found

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        """See `FeatureNetwork.extract`; the images are on the device of the network."""
        found: dict[str, Tensor] = self(images)
        return found


class VGG19Features(Encoder):
    """VGG19 trained on ImageNet (Simonyan and Zisserman, 2015): conv1_1 to conv5_4.

    Args:
        weights: torchvision's ``vgg19`` (keys ``features.N.weight``), with or without the
            classifier.
        layers: whose outputs are compared. SRGAN's perceptual loss, and RankSRGAN's, takes conv5_4,
            before its ReLU.

    Raises:
        InvalidCheckpoint: the weights of something else.
        InvalidConfig: no such layer.
    """

    network = "VGG19"
    min_side = 16
    default_layers = ("conv5_4",)

    def __init__(self, weights: Weights, layers: Sequence[str] = ()) -> None:
        chain = _chain(Vgg19(), _vgg_names(VGG19_BLOCKS), weights)
        super().__init__(chain, layers, weights.sha256)


class DistilledVGG19Features(Encoder):
    """VGG19 up to conv5_1, distilled to a quarter of its width (H. Wang et al., "Collaborative
    distillation for ultra-resolution universal style transfer", CVPR 2020).

    Its first layer makes BGR without the mean out of RGB; convolutions mirror at the border.

    Args:
        weights: the published ones, keys ``conv11.weight``.
        layers: whose outputs are compared; relu4_4 if none is named, whose distance ranks
            super-resolved images most as LPIPS does.

    Raises:
        InvalidCheckpoint: the weights of something else.
        InvalidConfig: no such layer.
    """

    network = "distilled VGG19"
    min_side = 32
    default_layers = ("relu4_4",)

    def __init__(self, weights: Weights, layers: Sequence[str] = ()) -> None:
        convolutions = DistilledVgg19({"conv0": nn.Conv2d(3, 3, 1)})
        chain: dict[str, nn.Module] = {"to_bgr": convolutions["conv0"]}
        names = _vgg_names(DISTILLED_BLOCKS)
        inputs = 3
        for name in names:
            if name.startswith("conv"):
                outputs = DISTILLED_BLOCKS[int(name[4]) - 1][0]
                chain[name] = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
                convolutions[name.replace("_", "")] = chain[name]
                inputs = outputs
            else:
                chain[name] = nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(2)
        # The published file also has the layers that only the distillation needed.
        tensors = {key: value for key, value in weights.tensors.items() if "_aux" not in key}
        load_into(convolutions, replace(weights, tensors=tensors))
        super().__init__(chain, layers, weights.sha256)


class AlexNetFeatures(Encoder):
    """AlexNet trained on ImageNet, as in `ranksrgan.metrics.lpips`: conv1 to relu5.

    Args:
        weights: torchvision's ``alexnet``, with or without the classifier.
        layers: whose outputs are compared; the five ReLUs, which LPIPS takes, if none is named.

    Raises:
        InvalidCheckpoint: the weights of something else.
        InvalidConfig: no such layer.
    """

    network = "AlexNet"
    min_side = AlexNet.min_side
    default_layers = ("relu1", "relu2", "relu3", "relu4", "relu5")

    def __init__(self, weights: Weights, layers: Sequence[str] = ()) -> None:
        names = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"]
        names += ["conv3", "relu3", "conv4", "relu4", "conv5", "relu5"]
        super().__init__(_chain(AlexNet(), names, weights), layers, weights.sha256)


class Vgg19(Backbone):
    """VGG19 under torchvision's names, up to the last ReLU."""

    taps = (3, 8, 17, 26, 35)  # after the last ReLU of each block
    widths = (64, 128, 256, 512, 512)
    min_side = 16

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for block, widths in enumerate(VGG19_BLOCKS):
            if block:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
        self.features = nn.Sequential(*layers)


class DistilledVgg19(nn.ModuleDict):
    """The convolutions of the distilled network under the names of its file."""


class Normalise(nn.Module):
    """To the mean and deviation of ImageNet's channels, from images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def _chain(backbone: Backbone, names: Iterable[str], weights: Weights) -> dict[str, nn.Module]:
    """The layers of a network that sees normalised images, by name, without its classifier."""
    tensors = {key: value for key, value in weights.tensors.items() if key.startswith("features.")}
    load_into(backbone, replace(weights, tensors=tensors))
    return {"normalise": Normalise(), **dict(zip(names, backbone.features, strict=True))}


def _vgg_names(blocks: Sequence[Sequence[int]]) -> Iterator[str]:
    """conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 and so on."""
    for block, widths in enumerate(blocks, 1):
        if block > 1:
            yield f"pool{block - 1}"
        for number in range(1, len(widths) + 1):
            yield f"conv{block}_{number}"
            yield f"relu{block}_{number}"
