"""RADN: WResNet with deformable convolutions led by the reference, and attention among patches.

S. Shi, Q. Bai, M. Cao, W. Xia, J. Wang, Y. Chen, Y. Yang, "Region-adaptive deformable network for
image quality assessment", CVPR Workshops 2021. The authors warn that its training is unstable and
start it from a trained WResNet: that is ``start`` of `QualityConfig`. Published too: that the
attention changes nothing at first. Our choice: neither do the other layers that a WResNet has not,
or that start would be of little use; and all that `wresnet` names as ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.ranker.quality.deformable import ReferenceOriented, pass_on
from ranksrgan.ranker.quality.memory import IN_PARTS, Memory
from ranksrgan.ranker.quality.wresnet import Block, WResNet

# Patches that look at all others at a time: the regard of all 16,384 of a large image would take a
# gigabyte.
_AT_ONCE = 1024


class RADN(WResNet):
    """21,881,812 parameters at width 64.

    Args:
        width, patches, dropout: see `WResNet`.
    """

    architecture = "radn"
    memory = Memory(IN_PARTS, 8600)

    def features(self, patches: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, P, 8 width)`` of each patch and of each reference, those of one image in mutual
        regard."""
        image, reference = super().features(patches, references)
        return self.image_attention(image), self.reference_attention(reference)

    def deepest(self, both: Tensor) -> Tensor:
        """See `WResNet.deepest`; the reference says where both are looked at."""
        deformed = self.deformable(*self.blocks[:-1](both).chunk(2))
        found: Tensor = self.blocks[-1](F.relu(torch.cat(deformed)))
        for layer in self.further:
            found = F.relu(layer(found))
        return found

    def _build(self, width: int) -> None:
        deepest = 8 * width
        self.blocks = nn.Sequential(
            Block(3, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            Block(4 * width, 4 * width, 1),
            Block(4 * width, deepest, 2),
        )
        self.deformable = ReferenceOriented(4 * width)
        further = [nn.Conv2d(deepest, deepest, 3, stride, padding=1) for stride in (2, 1)]
        for layer in further:
            pass_on(layer)
        self.further = nn.ModuleList(further)
        self.pool = nn.AvgPool2d(2)
        self.image_attention = PatchAttention(deepest)
        self.reference_attention = PatchAttention(deepest)


class PatchAttention(nn.Module):
    """A non-local block over the patches of an image (X. Wang et al., CVPR 2018); at first it
    changes nothing.

    Args:
        channels: of the features of a patch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Linear(channels, inner)
        self.phi = nn.Linear(channels, inner)
        self.g = nn.Linear(channels, inner)
        self.out = nn.Linear(inner, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, P, C)``; likewise after it."""
        phi, g = self.phi(features).transpose(1, 2), self.g(features)
        seen = [
            torch.softmax(theta @ phi, dim=-1) @ g
            for theta in self.theta(features).split(_AT_ONCE, dim=1)
        ]
        found: Tensor = features + self.out(torch.cat(seen, dim=1))
        return found
