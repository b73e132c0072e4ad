"""The Ranker's network: VGG-12 of the RankSRGAN paper (TPAMI version, table 2 and section 4.2).

    conv0_0  3 ->  w  3x3            LeakyReLU     no BatchNorm
    conv0_1  w ->  w  4x4 stride 2   bn0_1         LeakyReLU
    conv1_0  w -> 2w  3x3            bn1_0         LeakyReLU      and so on for the stages
    ...                                            w, 2w, 4w, 8w, 8w
    mean over all positions -> 8w -> 100 -> LeakyReLU -> 1

The keys of the state dict are those of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall

#: Five convolutions of stride 2 leave one position of 32 pixels, and none of 31.
MIN_SIDE = 32
SLOPE = 0.2

_STAGES = (1, 2, 4, 8, 8)
_HIDDEN = 100


class VGG12(nn.Module):
    """Gives each image one unbounded number: 13,734,281 parameters at width 64.

    The published code pools with a square window of the feature map's height, so that a wide image
    is cut off and a tall one fails. Here the mean is taken over all positions, which is the same
    for square images and right for every other.

    Args:
        width: channels of the first stage; all others follow.
        generator: of the initial weights, drawn as He et al. (2015) propose and the paper says;
            the published code leaves PyTorch's own default.
    """

    def __init__(self, width: int = 64, generator: torch.Generator | None = None) -> None:
        super().__init__()
        channels = 3
        for stage, multiple in enumerate(_STAGES):
            wider = width * multiple
            self.add_module(f"conv{stage}_0", nn.Conv2d(channels, wider, 3, padding=1))
            if stage > 0:
                self.add_module(f"bn{stage}_0", nn.BatchNorm2d(wider))
            self.add_module(f"conv{stage}_1", nn.Conv2d(wider, wider, 4, stride=2, padding=1))
            self.add_module(f"bn{stage}_1", nn.BatchNorm2d(wider))
            channels = wider
        self.classifier = nn.Sequential(
            nn.Linear(channels, _HIDDEN), nn.LeakyReLU(SLOPE), nn.Linear(_HIDDEN, 1)
        )
        self.width = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: ``(N, 3, H, W)`` RGB in [0, 1], not normalised, both sides at least 32.

        Returns:
            ``(N,)`` scores in the type of the parameters; a larger score says that the metric
            which the Ranker has learnt is larger.

        Raises:
            ImageTooSmall: a side is below 32 pixels.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise ImageTooSmall(
                f"an image of {width} x {height} pixels is too small: the Ranker needs "
                f"{MIN_SIDE} x {MIN_SIDE}",
                field="images",
            )
        features = images
        for stage in range(len(_STAGES)):
            for place in (0, 1):
                features = self.get_submodule(f"conv{stage}_{place}")(features)
                if stage or place:
                    features = self.get_submodule(f"bn{stage}_{place}")(features)
                features = F.leaky_relu(features, SLOPE, inplace=True)
        # A score needs more than the 8 bits of bfloat16's mantissa, so autocast ends here.
        with torch.autocast(images.device.type, enabled=False):
            pooled = features.to(next(self.parameters()).dtype).mean((2, 3))
            scores: Tensor = self.classifier(pooled)
        return scores.squeeze(1)


def rename_old_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the first official generation (``features.5.weight``) under the names above.

    ``features`` counts convolutions, normalisations and activations alike: 0 and 2, 3 are stage 0,
    then every place of the later stages takes three. Other keys are kept.
    """
    modules = {"0": "conv0_0", "2": "conv0_1", "3": "bn0_1"}
    places = [(stage, place) for stage in range(1, len(_STAGES)) for place in (0, 1)]
    for i, (stage, place) in enumerate(places):
        modules[str(5 + 3 * i)] = f"conv{stage}_{place}"
        modules[str(6 + 3 * i)] = f"bn{stage}_{place}"
    renamed = {}
    for key, value in tensors.items():
        head, _, rest = key.partition(".")
        index, _, name = rest.partition(".")
        old = head == "features" and index in modules
        renamed[f"{modules[index]}.{name}" if old else key] = value
    return renamed
