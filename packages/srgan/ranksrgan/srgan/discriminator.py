"""The VGG discriminator of SRGAN with a head that takes crops of any size.

The published one flattens 512 x 9 x 9 features into 100 units, which fixes its input to 296 x 296
pixels. Here the features are averaged over the crop first, as the Ranker does: 512 into 100 units
whatever the crop, and 4.1 million parameters fewer (13,731,401 instead of 17,827,401 at width 64).
The ten convolutions are the published ones, under the official keys.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import load_into, load_weights, save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput

ARCHITECTURE = "vgg_discriminator"

#: Five stages halve the crop; 32 pixels leave one feature vector.
MIN_SIDE = 32


class VGGDiscriminator(nn.Module):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 1)`` logits: positive says "a real photograph".

    Each stage is a 3x3 convolution that widens and a 4x4 one with stride 2; batch normalisation and
    LeakyReLU 0.2 follow every convolution, but the first has a bias instead of the normalisation.

    Args:
        width: channels of the first stage; 64 is the published size.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise InvalidInput(f"width is {width}; it is at least 1", field="width")
        self.width = width
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
        self.linear1 = nn.Linear(inputs, 100)
        self.linear2 = nn.Linear(100, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < MIN_SIDE:
            raise InvalidInput(
                f"the discriminator takes crops of at least {MIN_SIDE} pixels a side, not "
                f"{x.shape[-1]} x {x.shape[-2]}",
                field="crop",
            )
        for stage in range(5):
            for j in range(2):
                x = self.get_submodule(f"conv{stage}_{j}")(x)
                if (stage, j) != (0, 0):
                    x = self.get_submodule(f"bn{stage}_{j}")(x)
                x = self.lrelu(x)
        logits: Tensor = self.linear2(self.lrelu(self.linear1(x.mean(dim=(2, 3)))))
        return logits


def save_discriminator(path: Path, network: VGGDiscriminator, about: Mapping[str, Any]) -> None:
    """Write a discriminator as ``.safetensors``, so that another run can continue from it."""
    save_weights(
        path,
        network.state_dict(),
        kind="discriminator",
        architecture=ARCHITECTURE,
        options={"width": network.width},
        about=about,
    )


def load_discriminator(path: Path) -> VGGDiscriminator:
    """Read a discriminator that `save_discriminator` wrote.

    Raises:
        InvalidCheckpoint: damaged, not a discriminator or of another architecture.
    """
    weights = load_weights(path)
    width = weights.options.get("width")
    if (
        weights.kind != "discriminator"
        or weights.architecture != ARCHITECTURE
        or not isinstance(width, int)
        or width < 1
    ):
        raise InvalidCheckpoint(
            f"{path} holds {weights.kind or 'weights of no stated kind'} "
            f"({weights.architecture or 'architecture not stated'}); a discriminator "
            f"({ARCHITECTURE}) is wanted here",
            field=str(path),
        )
    network = VGGDiscriminator(width)
    load_into(network, weights)
    return network
