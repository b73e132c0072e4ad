"""L2PIPS: how alike the deep features of image and reference are, by team The Amaurotia.

Third in the NTIRE 2021 challenge on perceptual image quality; described in its report (J. Gu et
al., CVPRW 2021), no code was published.

Each stage of a ResNet-50 has a deep-similarity module: the channels of the two maps are shuffled so
that channel k of the reference stands beside channel k of the image, a convolution in groups of two
compares them, and frequency channel attention weighs the results. The cosine of the two maps at
each position goes along as a plain similarity.

Two phases of equal length: the backbone is frozen and the loss is L1; then all is trained with the
mean square. A backbone that has no published weights is trained from the beginning. Where the
report is silent, our choice: a 3x3 comparison with ReLU, the mean over the positions, and a
perceptron of all stages' numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.ranker.quality.frequency_attention import FrequencyAttention
from ranksrgan.ranker.quality.objective import QualityLoss
from ranksrgan.ranker.quality.on_backbone import BackboneModel

#: Of each stage's numbers unless an option says otherwise.
WIDTH = 64

_SECOND_PHASE = 0.5


class L2Pips(BackboneModel):
    """The model; its score rises with quality.

    Args:
        backbone, backbone_width: see `BackboneModel`.
        width: numbers that each stage gives to the perceptron, beside the cosine.
        head_width: hidden units of the perceptron.

    Raises:
        InvalidInput: no such backbone.
    """

    architecture = "l2pips"
    losses: ClassVar = {"regression": 1.0}

    def __init__(
        self,
        backbone: str = "resnet50",
        backbone_width: int = 0,
        width: int = WIDTH,
        head_width: int = 128,
    ) -> None:
        super().__init__(
            backbone=backbone, backbone_width=backbone_width, width=width, head_width=head_width
        )
        self._first_phase = True
        self.similarities = nn.ModuleList(
            DeepSimilarity(channels, width) for channels in self.backbone.widths
        )
        self.head = nn.Sequential(
            nn.Linear((width + 1) * len(self.similarities), head_width),
            nn.ReLU(),
            nn.Linear(head_width, 1),
        )
        self.memory = self.backbone.memory.scaled(self.backbone.share, width / WIDTH)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel.forward`.

        Raises:
            ImageTooSmall: as the backbone.
        """
        maps = zip(self.similarities, self.backbone(images), self.backbone(references), strict=True)
        found = [similarity(image, reference) for similarity, image, reference in maps]
        scores: Tensor = self.head(torch.cat(found, 1)).squeeze(1)
        return scores

    def begin(self, progress: float) -> None:
        """Enter the phase of training; see the module's head."""
        super().begin(progress)
        self._first_phase = progress < _SECOND_PHASE
        if self.published:
            self.backbone.freeze(self._first_phase)

    @property
    def current_losses(self) -> Mapping[QualityLoss, float]:
        """L1, then the mean square."""
        return {"l1": 1.0} if self._first_phase else self.losses


class DeepSimilarity(nn.Module):
    """Compares two maps of one stage channel by channel.

    Args:
        channels: of each map.
        width: of the result.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.compare = nn.Conv2d(2 * channels, channels, 3, padding=1, groups=channels)
        self.attention = FrequencyAttention(channels)
        self.mix = nn.Conv2d(channels, width, 1)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """``(N, width + 1)``, the mean cosine last, of two ``(N, channels, h, w)``."""
        compared = F.relu(self.compare(pair_channels(reference, image)))
        similarity = self.mix(self.attention(compared)).mean((2, 3))
        # The bound on the lengths keeps the gradient finite where a map is 0.
        cosine = F.cosine_similarity(image, reference, dim=1, eps=1e-6).mean((1, 2))
        return torch.cat([similarity, cosine[:, None]], 1)


def pair_channels(first: Tensor, second: Tensor) -> Tensor:
    """Two maps ``(N, C, h, w)`` as one of 2C channels: first 0, second 0, first 1, second 1, ..."""
    return torch.stack([first, second], 2).flatten(1, 2)
