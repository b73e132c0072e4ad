"""IQT: a transformer that compares an image with its reference, by team LIPT.

M. Cheon et al., "Perceptual image quality assessment with transformers", CVPRW 2021; first in the
NTIRE 2021 challenge on perceptual image quality.

    encoder input = 1x1 conv of (f_reference - f_image)     and a quality token before it
    decoder input = 1x1 conv of f_reference                 and another one
    score         = MLP of the decoder's quality token

f are the maps of a backbone side by side. A head of the attention is as wide as a token. The
network sees crops of one size, whose places it has learnt; the score of an image is the mean over
crops that overlap by half and cover it. The decoder's self-attention looks at all tokens.

    task     layers  width  heads  hidden  head_width  crop  tokens  parameters without backbone
    PIPAL       1     128     4     1024      128      192     441      1,940,992
    TID2013     2     256     4     1024      512      256     841      9,965,568

The published backbone is Inception-ResNet-v2, frozen, and the loss the mean square. Other backbones
are our choice: their maps, of several sizes, are averaged over the cells of the coarsest grid. So
is the overlap of the crops, of which the paper tells only that there are M. In training, one
crop at random is taken of an image that is larger.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.memory import IN_PARTS, Memory
from ranksrgan.ranker.quality.model import Learnt
from ranksrgan.ranker.quality.on_backbone import BackboneModel, pool_to_coarsest
from ranksrgan.ranker.quality.patches import at_random
from ranksrgan.ranker.quality.windows import coverage, covering_windows

_NORM_EPS = 1e-12


class Iqt(BackboneModel):
    """The model; its score rises with quality.

    Args:
        backbone, backbone_width, frozen: see `BackboneModel`.
        crop: side of the crops in pixels, and the least side of an image.
        layers: of the encoder, and of the decoder.
        width: of a token.
        heads: of each attention.
        hidden: units of the layers' perceptrons.
        head_width: hidden units of the last perceptron.
        dropout: in training.

    Raises:
        InvalidInput: no such backbone, or a crop too small for it.
    """

    architecture = "iqt"
    losses: ClassVar = {"regression": 1.0}

    def __init__(
        self,
        backbone: str = "inception_resnet_v2",
        backbone_width: int = 0,
        frozen: bool = True,
        crop: int = 192,
        layers: int = 1,
        width: int = 128,
        heads: int = 4,
        hidden: int = 1024,
        head_width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            backbone=backbone,
            backbone_width=backbone_width,
            frozen=frozen,
            crop=crop,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            head_width=head_width,
            dropout=dropout,
        )
        if crop < self.backbone.min_side:
            raise InvalidInput(
                f"a crop of {crop} pixels is too small: {backbone} needs {self.backbone.min_side}",
                field="crop",
            )
        self.crop = self.min_side = crop
        self.stride = max(1, crop // 2)
        _, rows, columns = self.backbone.shapes(crop)[-1]
        self.transformer = Transformer(
            sum(self.backbone.widths),
            rows * columns,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            head_width=head_width,
            dropout=dropout,
        )
        # A gradient keeps the maps of all crops, which overlap.
        tokens = rows * columns * _token_bytes(layers, width, heads, hidden) / crop**2
        kept = math.ceil(coverage(crop, self.stride) * (self.backbone.kept_bytes + tokens))
        self.memory = Memory(IN_PARTS, kept)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel.forward`.

        Raises:
            ImageTooSmall: a side is below ``crop``.
        """
        height, width = self.check_size(images)
        scores = []
        for top, left in covering_windows(height, width, self.crop, self.stride):
            image, reference = (
                whole[..., top : top + self.crop, left : left + self.crop]
                for whole in (images, references)
            )
            scores.append(self._of_crops(image, reference))
        return torch.stack(scores).mean(0)

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """See `QualityModel.learn`; of one crop of each image.

        Raises:
            ImageTooSmall: a side is below ``crop``.
        """
        self.check_size(images)
        crops = at_random(images, references, self.crop, 1)
        return Learnt(self._of_crops(*(of_one[:, 0] for of_one in crops)))

    def _of_crops(self, images: Tensor, references: Tensor) -> Tensor:
        scores: Tensor = self.transformer(self._features(images), self._features(references))
        return scores

    def _features(self, crops: Tensor) -> Tensor:
        return torch.cat(pool_to_coarsest(self.backbone(crops)), 1)


class Transformer(nn.Module):
    """All of the model behind the backbone.

    Args:
        channels: of the feature maps.
        tokens: positions of the feature maps.
        layers, width, heads, hidden, head_width, dropout: see `Iqt`.
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        *,
        layers: int,
        width: int,
        heads: int,
        hidden: int,
        head_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.encoder_input = TokenInput(channels, tokens, width, dropout)
        self.decoder_input = TokenInput(channels, tokens, width, dropout)
        self.encoder = nn.ModuleList(_Encoder(width, heads, hidden, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(_Decoder(width, heads, hidden, dropout) for _ in range(layers))
        self.head = nn.Sequential(
            nn.Linear(width, head_width, bias=False),
            nn.ReLU(),
            nn.Linear(head_width, 1, bias=False),
        )

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """``(N,)`` scores by feature maps ``(N, channels, h, w)`` with h w = tokens."""
        memory = self.compare(image, reference)
        x = self.decoder_input(reference)
        for layer in self.decoder:
            x = layer(x, memory)
        scores: Tensor = self.head(x[:, 0]).squeeze(1)
        return scores

    def compare(self, image: Tensor, reference: Tensor) -> Tensor:
        """What the encoder makes of the difference, ``(N, tokens + 1, width)``."""
        x: Tensor = self.encoder_input(reference - image)
        for layer in self.encoder:
            x = layer(x)
        return x


class TokenInput(nn.Module):
    """Feature maps as a row of tokens, a learnt one before them, that know their places."""

    def __init__(self, channels: int, tokens: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)
        self.quality = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        tokens = self.project(maps).flatten(2).transpose(1, 2)
        row = torch.cat([self.quality.expand(len(tokens), -1, -1), tokens], 1)
        placed: Tensor = self.dropout(row + self.places)
        return placed


class _Attention(nn.Module):
    """Each head is as wide as a token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, heads * width)
        self.key = nn.Linear(width, heads * width)
        self.value = nn.Linear(width, heads * width)
        self.out = nn.Linear(heads * width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (
            project(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, tokens in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return mixed


class _Encoder(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(width, heads)
        self.perceptron = _perceptron(width, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=_NORM_EPS) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, x)))
        found: Tensor = self.norms[1](x + self.dropout(self.perceptron(x)))
        return found


class _Decoder(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(width, heads)
        self.to_memory = _Attention(width, heads)
        self.perceptron = _perceptron(width, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=_NORM_EPS) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, x)))
        x = self.norms[1](x + self.dropout(self.to_memory(x, memory)))
        found: Tensor = self.norms[2](x + self.dropout(self.perceptron(x)))
        return found


def _token_bytes(layers: int, width: int, heads: int, hidden: int) -> int:
    """What a gradient keeps of a token: of each encoder's attention query, key, value and result,
    the latter in two layouts, and of each perceptron its hidden units before and after the GELU; of
    a decoder as much, since its attention to its own tokens has no gradient."""
    return 2 * layers * ((6 * heads + 4) * width + 2 * hidden) * 4


def _perceptron(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
