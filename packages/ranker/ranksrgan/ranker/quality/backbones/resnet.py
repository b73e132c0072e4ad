"""ResNet-18 and ResNet-50 without their classifier, under torchvision's names.

K. He et al., "Deep residual learning for image recognition", CVPR 2016; the stride of a bottleneck
is in its 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F


class ResNet(nn.Module):
    """Gives the outputs of its four stages, a quarter to a thirty-second of the image.

    Args:
        depth: 18 or 50.
        width: channels of the first stage's 3x3 convolutions; all others follow.

    Attributes:
        widths: the channels of each output.
        min_side: of an image for which every stage has an output that its padding did not make.
    """

    min_side: ClassVar[int] = 32

    def __init__(self, depth: Literal[18, 50], width: int = 64) -> None:
        super().__init__()
        block: type[_Basic] | type[_Bottleneck] = _Basic if depth == 18 else _Bottleneck
        repeats = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        stages = []
        for stage, repeat in enumerate(repeats):
            inner = width * 2**stage
            blocks = []
            for place in range(repeat):
                blocks.append(block(channels, inner, 2 if stage and not place else 1))
                channels = inner * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.widths = tuple(block.expansion * width * 2**stage for stage in range(4))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The outputs of the stages, ``(N, C, h, w)`` each, for normalised ``(N, 3, H, W)``."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1)
        found = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            found.append(x)
        return found


class _Basic(nn.Module):
    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = _shortcut(inputs, inner, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _Bottleneck(nn.Module):
    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = inner * self.expansion
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
