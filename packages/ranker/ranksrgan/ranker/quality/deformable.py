"""Deformable convolution in plain PyTorch.

J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu, Y. Wei, "Deformable convolutional networks", ICCV
2017: each of the nine taps of a 3 x 3 convolution looks at a place of its own for each output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The taps of a 3 x 3 kernel, row by row: how far down and how far right.
_TAPS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def deformable_convolution(
    features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """A 3 x 3 convolution, padded by 1, whose taps are shifted by ``offsets``.

    Between pixels features are bilinear, outside of the map they are 0. With all offsets 0 it is
    ``conv2d(features, weight, bias, padding=1)``. Places are computed in float32 at least, whatever
    the type of features and offsets.

    Args:
        features: ``(N, C, H, W)``.
        offsets: ``(N, 18, H, W)`` in pixels: down and right of each tap in turn, row by row.
        weight: ``(D, C, 3, 3)``.
        bias: ``(D,)``.

    Returns:
        ``(N, D, H, W)``, with gradients to all four.
    """
    count, channels, height, width = features.shape
    # A bfloat16 has 8 bits: of a place in a map of 200 pixels it would keep the whole pixel only.
    exact = torch.promote_types(torch.promote_types(features.dtype, offsets.dtype), torch.float32)
    offsets, source = offsets.to(exact), features.to(exact)
    y = torch.arange(height, device=features.device, dtype=exact)[:, None]
    x = torch.arange(width, device=features.device, dtype=exact)[None, :]
    taps = []
    for tap, (down, right) in enumerate(_TAPS):
        rows = _normalised(y + down + offsets[:, 2 * tap], height)
        columns = _normalised(x + right + offsets[:, 2 * tap + 1], width)
        places = torch.stack([columns, rows], dim=-1)
        taps.append(F.grid_sample(source, places, padding_mode="zeros", align_corners=False))
    unfolded = torch.stack(taps, dim=2).reshape(count, channels * 9, height * width)
    unfolded = unfolded.to(features.dtype)
    found = weight.reshape(len(weight), -1) @ unfolded + bias[:, None]
    return found.reshape(count, -1, height, width)


class ReferenceOriented(nn.Module):
    """RADN's pair of deformable convolutions: the reference alone says where both look.

    Where the distorted image has lost its structure it cannot say that itself.

    Args:
        channels: of both maps, before and after.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(channels, 2 * len(_TAPS), 3, padding=1)
        self.image = nn.Conv2d(channels, channels, 3, padding=1)
        self.reference = nn.Conv2d(channels, channels, 3, padding=1)
        # At first both pass on what they are given, from where it is: what a WResNet has learnt is
        # still of use behind them.
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.get_parameter("bias"))
        for layer in (self.image, self.reference):
            pass_on(layer)

    def forward(self, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, C, H, W)`` features of both, likewise after it."""
        offsets = self.offsets(reference)
        return (
            deformable_convolution(image, offsets, *self.image.parameters()),
            deformable_convolution(reference, offsets, *self.reference.parameters()),
        )


def pass_on(layer: nn.Conv2d) -> None:
    """Initial weights of a 3 x 3 convolution whose output is its input."""
    nn.init.dirac_(layer.weight)
    nn.init.zeros_(layer.get_parameter("bias"))


def _normalised(places: Tensor, side: int) -> Tensor:
    """From pixels to what `grid_sample` wants: -1 and 1 are the outer edges of the map."""
    return (2 * places + 1) / side - 1
