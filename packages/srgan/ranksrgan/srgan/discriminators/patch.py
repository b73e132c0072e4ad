"""PatchGAN: a logit for every patch of 70 x 70 pixels.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017. Keys
are those of pix2pix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from ranksrgan.srgan.discriminators.discriminator import Discriminator, Sides, check_width
from ranksrgan.srgan.network import outputs_of


class PatchDiscriminator(Discriminator):
    """``(N, 3, H, W)`` RGB in [0, 1], 24 pixels a side or more, to ``(N, 1, h, w)`` logits.

    2,765,633 parameters at width 64. ``h`` is ``H // 8 - 2``. Five 4x4 convolutions, three of them
    with stride 2; batch normalisation follows the middle three, LeakyReLU 0.2 all but the last.
    Convolutions start from a normal distribution of deviation 0.02, as published.

    Args:
        width: channels of the first convolution; 64 is the published size.

    Raises:
        InvalidInput: a width below 1.
    """

    architecture = "patch"
    sides = Sides(24)

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_width(width)
        self.options = {"width": width}
        self.model = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
        for inputs, outputs, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            self.model.append(nn.Conv2d(inputs * width, outputs * width, 4, stride, 1, bias=False))
            self.model.append(nn.BatchNorm2d(outputs * width))
            self.model.append(nn.LeakyReLU(0.2, inplace=True))
        self.model.append(nn.Conv2d(8 * width, 1, 4, 1, 1))
        for module in self.model:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, mean=1.0, std=0.02)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        width = outputs_of(tensors, "model.0")
        if not (width and "model.3.running_mean" in tensors and outputs_of(tensors, "model.11")):
            return None
        return cls(width)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        logits: Tensor = self.model(x)
        return logits
