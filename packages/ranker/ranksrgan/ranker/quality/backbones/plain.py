"""A small network to be trained from the beginning, where no weights of a large one are at hand.

Ours and of no paper: no normalisation over the batch, so that training and use see the same
network, however small the batch.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Plain(nn.Module):
    """Four stages of two 3x3 convolutions, the first of which halves, with ReLU.

    Args:
        width: channels of the first stage; those of the others are 2, 4 and 4 times as many.

    Attributes:
        widths: the channels of each stage.
        min_side: of an image for which every stage has an output that its padding did not make.
    """

    min_side: ClassVar[int] = 16

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width, 4 * width)
        channels = 3
        self.stages = nn.ModuleList()
        for wider in self.widths:
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, wider, 3, stride=2, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(wider, wider, 3, padding=1),
                    nn.ReLU(),
                )
            )
            channels = wider
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """The outputs of the stages, ``(N, C, h, w)`` each, for normalised ``(N, 3, H, W)``."""
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        return found
