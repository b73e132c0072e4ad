"""Features of several levels and a transformer with two heads, by team Yahaha!.

Fifth in the NTIRE 2021 challenge on perceptual image quality; described in its report (J. Gu et
al., CVPRW 2021), no code was published.

Of each stage of a ResNet-18 come reference, image and their difference, averaged over the cells of
a common grid. The positions of that grid are the tokens of a transformer's encoder. One head scores
the image and one says how it was distorted, which training has to tell from the others:

    L1 + sum over pairs of |(y_i - y_j) - (x_i - x_j)| + weight x cross entropy of the kind

The weight of the last term was not published. Our choice: 0.1, the mean over pairs instead of their
sum, which grows with the square of the batch, a fixed number of grid cells for all images, and the
mean over the tokens before the heads. Before the averages, in which noise would cancel out, the
three go through a 1x1 convolution and ReLU, and the difference comes without its sign: with the
sign the model learnt the tests' pictures to .64 instead of .85 in the same steps.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.model import Learnt
from ranksrgan.ranker.quality.on_backbone import BackboneModel

#: Of a token unless an option says otherwise.
WIDTH = 128


class Yahaha(BackboneModel):
    """The model; its score rises with quality.

    Args:
        backbone, backbone_width, frozen: see `BackboneModel`.
        grid: rows and columns of the common grid.
        width: of a token, a multiple of ``heads``.
        layers: of the transformer.
        heads: of each attention.
        kinds: of distortions, which a training counts from 0 on.
        kind_weight: of the cross entropy.
        dropout: of the transformer, in training.

    Raises:
        InvalidInput: no such backbone, or a width that the heads do not divide.
    """

    architecture = "yahaha"
    losses: ClassVar = {"l1": 1.0, "relative_distance": 1.0}

    def __init__(
        self,
        backbone: str = "resnet18",
        backbone_width: int = 0,
        frozen: bool = False,
        grid: int = 7,
        width: int = WIDTH,
        layers: int = 2,
        heads: int = 4,
        kinds: int = 32,
        kind_weight: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            backbone=backbone,
            backbone_width=backbone_width,
            frozen=frozen,
            grid=grid,
            width=width,
            layers=layers,
            heads=heads,
            kinds=kinds,
            kind_weight=kind_weight,
            dropout=dropout,
        )
        if width % heads:
            raise InvalidInput(f"{heads} heads do not divide a width of {width}", field="width")
        self.grid, self.kinds, self.kind_weight = grid, kinds, kind_weight
        self.compare = nn.ModuleList(
            nn.Conv2d(3 * channels, width, 1) for channels in self.backbone.widths
        )
        self.tokens = nn.Linear(width * len(self.compare), width)
        self.places = nn.Parameter(0.02 * torch.randn(1, grid * grid, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.score_head = _head(width, 1)
        self.kind_head = _head(width, kinds)
        self.memory = self.backbone.memory.scaled(self.backbone.share, width / WIDTH)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel.forward`.

        Raises:
            ImageTooSmall: as the backbone.
        """
        scores: Tensor = self.score_head(self.encode(images, references)).squeeze(1)
        return scores

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """See `QualityModel.learn`.

        Raises:
            InvalidInput: a kind beyond ``kinds``.
        """
        if int(kinds.max()) >= self.kinds:
            raise InvalidInput(
                f"there are more kinds of distortions than the {self.kinds} this model tells apart",
                field="kinds",
            )
        seen = self.encode(images, references)
        cost = self.kind_weight * F.cross_entropy(self.kind_head(seen), kinds)
        return Learnt(self.score_head(seen).squeeze(1), cost)

    def encode(self, images: Tensor, references: Tensor) -> Tensor:
        """What both heads look at, ``(N, width)``."""
        parts = []
        for compare, image, reference in zip(
            self.compare, self.backbone(images), self.backbone(references), strict=True
        ):
            level = F.relu(compare(torch.cat([reference, image, (reference - image).abs()], 1)))
            parts.append(F.adaptive_avg_pool2d(level, self.grid))
        rows = self.tokens(torch.cat(parts, 1).flatten(2).transpose(1, 2))
        seen: Tensor = self.encoder(rows + self.places).mean(1)
        return seen


def _head(width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
