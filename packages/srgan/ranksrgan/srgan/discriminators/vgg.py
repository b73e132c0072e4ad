"""The VGG discriminator of SRGAN, with the published heads and with one for crops of any size.

The published ones flatten 512 x 4 x 4 or 512 x 9 x 9 features into 100 units, which fixes their
input to 128 x 128 or 296 x 296 pixels. `VGGDiscriminator` averages the features over the crop
first, as the Ranker does: 512 into 100 units whatever the crop, and 4.1 million parameters fewer
(13,731,401 instead of 17,827,401 at width 64). The ten convolutions are the same, under the
official keys.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ranksrgan.srgan.discriminators.discriminator import Discriminator, Sides, check_width
from ranksrgan.srgan.network import outputs_of, rename_layers

_CONVOLUTIONS = [f"{stage}_{j}" for stage in range(5) for j in range(2)]


class VGGDiscriminator(Discriminator):
    """``(N, 3, H, W)`` RGB in [0, 1], 32 pixels a side or more, to ``(N, 1)`` logits.

    Each stage is a 3x3 convolution that widens and a 4x4 one with stride 2; batch normalisation and
    LeakyReLU 0.2 follow every convolution, but the first has a bias instead of the normalisation.

    Args:
        width: channels of the first stage; 64 is the published size.

    Raises:
        InvalidInput: a width below 1.
    """

    architecture = "vgg"
    sides = Sides(32)
    #: Side of the feature maps that the head flattens; None if it takes their mean.
    map_side: ClassVar[int | None] = None

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_width(width)
        self.options = {"width": width}
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for stage, factor in enumerate((1, 2, 4, 8, 8)):
            outputs = factor * width
            layers[f"conv{stage}_0"] = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=stage == 0)
            layers[f"conv{stage}_1"] = nn.Conv2d(outputs, outputs, 4, 2, 1, bias=False)
            if stage > 0:
                layers[f"bn{stage}_0"] = nn.BatchNorm2d(outputs)
            layers[f"bn{stage}_1"] = nn.BatchNorm2d(outputs)
            inputs = outputs
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.linear1 = nn.Linear(inputs * (self.map_side or 1) ** 2, 100)
        self.linear2 = nn.Linear(100, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        width, head = outputs_of(tensors, "conv0_0"), tensors.get("linear1.weight")
        if not width or head is None or head.ndim != 2:
            return None
        inputs = 8 * width * (cls.map_side or 1) ** 2
        return cls(width) if head.shape[1] == inputs else None

    def original_names(self) -> dict[str, dict[str, str]]:
        return {}  # the head is ours

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        for name in _CONVOLUTIONS:
            x = self.get_submodule(f"conv{name}")(x)
            if name != "0_0":
                x = self.get_submodule(f"bn{name}")(x)
            x = self.lrelu(x)
        x = x.mean(dim=(2, 3)) if self.map_side is None else x.flatten(1)
        logits: Tensor = self.linear2(self.lrelu(self.linear1(x)))
        return logits


class VGG128Discriminator(VGGDiscriminator):
    """The published one for crops of 128 x 128 (SRGAN, ESRGAN): 14,499,401 parameters."""

    architecture = "vgg_128"
    sides = Sides(128, 159)  # five times half, rounded down, is 4
    map_side = 4

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of the official repository's first generation.

        There every convolution has a bias. In front of a normalisation it only moves the mean that
        is taken away again: it is taken off the running mean here.
        """
        named = rename_layers(tensors, _FIRST_GENERATION)
        for name in _CONVOLUTIONS[1:]:
            bias, mean = named.get(f"conv{name}.bias"), named.get(f"bn{name}.running_mean")
            if bias is not None and mean is not None and bias.shape == mean.shape:
                named[f"bn{name}.running_mean"] = mean - bias
                del named[f"conv{name}.bias"]
        return named

    def original_names(self) -> dict[str, dict[str, str]]:
        return {"official": {}}


class VGG296Discriminator(VGG128Discriminator):
    """The published one for crops of 296 x 296 (RankSRGAN): 17,827,401 parameters."""

    architecture = "vgg_296"
    sides = Sides(288, 319)  # five times half, rounded down, is 9
    map_side = 9


def _first_generation() -> dict[str, str]:
    """Their names and ours: there an activation has a number too."""
    names = {"classifier.0": "linear1", "classifier.2": "linear2", "features.0": "conv0_0"}
    for index, name in enumerate(_CONVOLUTIONS[1:]):
        names[f"features.{2 + 3 * index}"] = f"conv{name}"
        names[f"features.{3 + 3 * index}"] = f"bn{name}"
    return names


_FIRST_GENERATION = _first_generation()
