"""A learned sensitivity to errors: where the eye minds them, and where it does not.

SI Analytics, twelfth in NTIRE 2021, after J. Kim, S. Lee, "Deep learning of human visual
sensitivity in image quality assessment framework", CVPR 2017 (DeepQA).

Published: the map of errors, a U-Net that sees it beside both images in grey, a sensitivity of 0
and above, a linear layer behind the mean of their product, the mean squared error with a penalty
on the weights, and that images with an opinion outside of the middle (0.4 to 0.8 of the range) are
drawn more often. Our choice: the size of the U-Net, which is not published; the total variation
that keeps the sensitivity smooth, and its weight; a + b · mean with b above 0 for the linear layer;
Pearson's correlation beside the mean squared error, and no penalty unless ``weight_decay`` sets
one; that no image is drawn more often than others; how inputs are scaled; the initial weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.memory import Memory
from ranksrgan.ranker.quality.model import Learnt, QualityModel

#: Of the U-Net at full resolution unless an option says otherwise.
WIDTH = 32

# Luma of MATLAB's rgb2gray, rounded.
_GRAY = (0.299, 0.587, 0.114)

# Of (difference on 0..255) squared: below it two pixels are as good as equal.
_EPSILON = 1.0

# Of the total variation of the sensitivity, beside errors of about 1.
_SMOOTH = 0.01


def similarity_map(image: Tensor, reference: Tensor) -> Tensor:
    """``log(1 / (d^2 + eps / 255^2)) / log(255^2 / eps)`` with d the difference and eps 1.

    1 where the two are equal, 0.4154 at a difference of 0.1 and 0 at one of 1. DeepQA calls it the
    normalised log difference.

    Args:
        image, reference: of one shape, in [0, 1].
    """
    error = (image - reference).square() + _EPSILON / 255**2
    return -error.log() / math.log(255**2 / _EPSILON)


class Sensitivity(QualityModel):
    """Score = a + b · mean of (sensitivity · similarity), b above 0.

    Our form of the published linear layer: the score rises with every pixel that comes closer to
    the reference while the sensitivity stays the same, and `sensitivity` is a heat map of what
    counts.

    Args:
        width: channels of the U-Net at full resolution; twice and four times as many below.
    """

    architecture = "sensitivity"
    memory = Memory(1300, 3117)
    min_side = 8

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(width=width)
        if width < 1:
            raise InvalidInput(f"width is {width}; at least 1 is wanted", field="width")
        self.down0 = _pair(3, width)
        self.down1 = _pair(width, 2 * width)
        self.down2 = _pair(2 * width, 4 * width)
        self.up1 = _pair(6 * width, 2 * width)
        self.up0 = _pair(3 * width, width)
        self.out = nn.Conv2d(width, 1, 1)
        nn.init.ones_(self.out.get_parameter("bias"))  # no pixel starts where the ReLU is flat
        # Of a sensitivity of 1 everywhere the scores of usual distortions then lie about 0, in
        # standard deviations of opinions.
        self.offset = nn.Parameter(torch.tensor(-4.0))
        self.log_slope = nn.Parameter(torch.tensor(6.0).log())
        self.memory = self.memory.scaled(width / WIDTH)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel`."""
        image, reference = _gray(images), _gray(references)
        return self._score(*self._maps(image, reference))

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """See `QualityModel`; the cost is the total variation of the sensitivity."""
        similarity, sensitivity = self._maps(_gray(images), _gray(references))
        rows = sensitivity.diff(dim=2).abs().mean()
        columns = sensitivity.diff(dim=3).abs().mean()
        return Learnt(self._score(similarity, sensitivity), _SMOOTH * (rows + columns))

    def sensitivity(self, images: Tensor, references: Tensor) -> Tensor:
        """Where errors count: ``(N, 1, H, W)``, 0 and above."""
        return self._maps(_gray(images), _gray(references))[1]

    def _score(self, similarity: Tensor, sensitivity: Tensor) -> Tensor:
        return self.offset + self.log_slope.exp() * (similarity * sensitivity).mean(dim=(1, 2, 3))

    def _maps(self, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        similarity = similarity_map(image, reference)
        # What tells distortions apart is contrast, a tenth of the range of the pixels.
        seen = [8 * (image - 0.5), 8 * (reference - 0.5), 4 * (similarity - 0.7)]
        level0 = self.down0(torch.cat(seen, dim=1))
        level1 = self.down1(F.avg_pool2d(level0, 2))
        level2 = self.down2(F.avg_pool2d(level1, 2))
        level1 = self.up1(torch.cat([_enlarged(level2, level1), level1], dim=1))
        level0 = self.up0(torch.cat([_enlarged(level1, level0), level0], dim=1))
        return similarity, F.relu(self.out(level0))


def _gray(images: Tensor) -> Tensor:
    weights = images.new_tensor(_GRAY)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def _enlarged(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[-2:], mode="nearest")


def _pair(inputs: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(inputs, channels),
        nn.LeakyReLU(0.1),
        _convolution(channels, channels),
        nn.LeakyReLU(0.1),
    )


def _convolution(inputs: int, channels: int) -> nn.Conv2d:
    """With He's initial weights: PyTorch's own would leave the sensitivity constant for long."""
    layer = nn.Conv2d(inputs, channels, 3, padding=1)
    nn.init.kaiming_uniform_(layer.weight, a=0.1)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer
