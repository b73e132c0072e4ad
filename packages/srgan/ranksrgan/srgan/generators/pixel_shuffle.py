"""The sub-pixel shuffle, in the layout that the maps have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PixelShuffle(nn.PixelShuffle):
    """As torch's: ``(N, C * r^2, H, W)`` to ``(N, C, r * H, r * W)``.

    On a GPU torch's own turns channels-last maps into NCHW, which the next convolution turns back:
    two passes over the largest maps of a network. This one leaves them as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        last = torch.channels_last
        if not (input.is_cuda and input.is_contiguous(memory_format=last)):
            return F.pixel_shuffle(input, self.upscale_factor)
        count, channels, height, width = input.shape
        factor = self.upscale_factor
        kept = channels // factor**2
        pixels = input.permute(0, 2, 3, 1).view(count, height, width, kept, factor, factor)
        shuffled = pixels.permute(0, 1, 4, 2, 5, 3)
        return shuffled.reshape(count, factor * height, factor * width, kept).permute(0, 3, 1, 2)
