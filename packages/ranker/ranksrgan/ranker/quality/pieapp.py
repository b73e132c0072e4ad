"""PieAPP looking through AlexNet without aliasing, by team tsubota.

E. Prashnani et al., "PieAPP: perceptual image-error assessment through pairwise preference", CVPR
2018, with an AlexNet of ImageNet whose pooling blurs (Zhang, ICML 2019) in place of the network of
its own: thirteenth in the NTIRE 2021 challenge on perceptual image quality.

Patches of 64 x 64 pixels of image and reference go through the backbone. One head scores the
difference of all their maps, one weighs a patch by that of the deepest map, and the image's error
is the weighted mean. The weights are learnt from preferences alone: that A is preferred to B has
the probability 1 / (1 + exp(error_A - error_B)).

Published: 36 random patches in training, a stride of 6 in tests. The stride here is 27, PieAPP's
sparse one, as the default: a twentieth of the work. Our choice: softplus keeps the patch weights
positive, and nothing scales the scores by 0.01, which serves PieAPP's own initial weights.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.ranker.quality.memory import IN_PARTS, Memory
from ranksrgan.ranker.quality.model import Learnt
from ranksrgan.ranker.quality.on_backbone import BackboneModel
from ranksrgan.ranker.quality.patches import at_random
from ranksrgan.ranker.quality.windows import coverage, covering_windows

PATCH = 64

_LEAST_WEIGHT = 1e-6
# Patches of an image that go through the network at a time.
_AT_ONCE = 64


class Pieapp(BackboneModel):
    """The model; its score is an error, which falls as quality rises.

    Args:
        backbone, backbone_width, frozen: see `BackboneModel`.
        hidden: units of each head.
        patches: of an image in training, at random.
        stride: the most pixels from one patch to the next where an image is scored.

    Raises:
        InvalidInput: no such backbone.
    """

    architecture = "pieapp"
    higher_is_better = False
    losses: ClassVar = {"bradley_terry": 1.0}

    def __init__(
        self,
        backbone: str = "alexnet_blur",
        backbone_width: int = 0,
        frozen: bool = False,
        hidden: int = 512,
        patches: int = 36,
        stride: int = 27,
    ) -> None:
        super().__init__(
            backbone=backbone,
            backbone_width=backbone_width,
            frozen=frozen,
            hidden=hidden,
            patches=patches,
            stride=stride,
        )
        self.patches, self.stride = patches, stride
        self.min_side = PATCH
        sizes = [math.prod(shape) for shape in self.backbone.shapes(PATCH)]
        self.score_head = _head(sum(sizes), hidden)
        self.weight_head = _head(sizes[-1], hidden)
        # A gradient keeps the maps of all patches, which overlap.
        kept = math.ceil(coverage(PATCH, stride) * self.backbone.kept_bytes)
        self.memory = Memory(IN_PARTS, kept)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel.forward`.

        Raises:
            ImageTooSmall: a side is below 64.
        """
        windows = covering_windows(*self.check_size(images), PATCH, self.stride)
        errors, weights = [], []
        for first in range(0, len(windows), _AT_ONCE):
            image, reference = (
                torch.stack(
                    [
                        whole[..., top : top + PATCH, left : left + PATCH]
                        for top, left in windows[first : first + _AT_ONCE]
                    ],
                    dim=1,
                )
                for whole in (images, references)
            )
            error, weight = self.judge(image, reference)
            errors.append(error)
            weights.append(weight)
        return _weighted_mean(torch.cat(errors, 1), torch.cat(weights, 1))

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """See `QualityModel.learn`; of random patches.

        Raises:
            ImageTooSmall: a side is below 64.
        """
        self.check_size(images)
        patches = at_random(images, references, PATCH, self.patches)
        return Learnt(_weighted_mean(*self.judge(*patches)))

    def judge(self, patches: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Error and weight of each patch, ``(N, P)`` each, of ``(N, P, 3, 64, 64)``."""
        differences = [
            (reference - image).flatten(1)
            for image, reference in zip(
                self.backbone(patches.flatten(0, 1)),
                self.backbone(references.flatten(0, 1)),
                strict=True,
            )
        ]
        error = self.score_head(torch.cat(differences, 1))
        weight = F.softplus(self.weight_head(differences[-1])) + _LEAST_WEIGHT
        return error.view(patches.shape[:2]), weight.view(patches.shape[:2])


def _weighted_mean(errors: Tensor, weights: Tensor) -> Tensor:
    return (weights * errors).sum(1) / weights.sum(1)


def _head(inputs: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))
