"""IQMA: quality from several scales of a feature pyramid, by team MT-GTD.

H. Guo et al., "IQMA network: image quality multi-scale assessment network", CVPRW 2021; second in
the NTIRE 2021 challenge on perceptual image quality.

Image and reference go through one backbone and one feature pyramid (Lin et al., CVPR 2017): two
branches with the same weights. On each scale the two maps are fused, pooled and
scored, and the scores of the scales are fused.

How they are fused and pooled was not published. Our choice: reference, image and the size of
their difference through a 1x1 convolution and ReLU, a mean weighted by a learnt map (softmax over
the positions), a perceptron, and a learnt convex combination of the scales' scores; that images
with an opinion below 1300 are not drawn more often than others, as the authors do; and one model
where their entry is the mean of nine. Published: a ResNet trained on ImageNet, the smooth L1 loss.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.ranker.quality.memory import Memory
from ranksrgan.ranker.quality.on_backbone import BackboneModel

#: So many maps of a backbone, the coarsest, make the pyramid: all of a ResNet.
SCALES = 4

#: Of the pyramid unless an option says otherwise.
WIDTH = 256

# Where the maps of the pyramid are so much wider than those of the backbone that they decide.
_PYRAMID = {"resnet18": Memory(860, 2100), "plain": Memory(2100, 4200)}


class Iqma(BackboneModel):
    """The model; its score rises with quality.

    Args:
        backbone, backbone_width, frozen: see `BackboneModel`.
        width: channels of the pyramid.
        head_width: hidden units of each scale's perceptron.

    Raises:
        InvalidInput: no such backbone.
    """

    architecture = "iqma"
    losses: ClassVar = {"smooth_l1": 1.0}

    def __init__(
        self,
        backbone: str = "resnet50",
        backbone_width: int = 0,
        frozen: bool = False,
        width: int = WIDTH,
        head_width: int = 64,
    ) -> None:
        super().__init__(
            backbone=backbone,
            backbone_width=backbone_width,
            frozen=frozen,
            width=width,
            head_width=head_width,
        )
        channels = self.backbone.widths[-SCALES:]
        self.pyramid = FeaturePyramid(channels, width)
        self.scales = nn.ModuleList(_ScaleScore(width, head_width) for _ in channels)
        self.balance = nn.Parameter(torch.zeros(len(channels)))
        memory = _PYRAMID.get(backbone, self.backbone.memory)
        self.memory = memory.scaled(self.backbone.share, width / WIDTH)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel.forward`.

        Raises:
            ImageTooSmall: as the backbone.
        """
        image, reference = (
            self.pyramid(self.backbone(whole)[-SCALES:]) for whole in (images, references)
        )
        triples = zip(self.scales, image, reference, strict=True)
        scores = torch.stack([score(x, y) for score, x, y in triples], 1)
        return (scores * self.balance.softmax(0)).sum(1)


class FeaturePyramid(nn.Module):
    """Maps of one width, in which the coarse ones have told the finer what they saw.

    Args:
        channels: of the maps that come in, the finest first.
        width: of those that go out.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """As many maps, each of the size of its own."""
        found = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for finer in range(len(found) - 2, -1, -1):
            above = F.interpolate(found[finer + 1], found[finer].shape[-2:], mode="nearest")
            found[finer] = found[finer] + above
        return [smooth(x) for smooth, x in zip(self.smooth, found, strict=True)]


class _ScaleScore(nn.Module):
    """The score of one scale by the maps of image and reference."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(3 * width, width, 1)
        self.attend = nn.Conv2d(width, 1, 1)
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        fused = F.relu(self.fuse(torch.cat([reference, image, (reference - image).abs()], 1)))
        weights = self.attend(fused).flatten(2).softmax(2)
        pooled = (fused.flatten(2) * weights).sum(2)
        scores: Tensor = self.score(pooled).squeeze(1)
        return scores
