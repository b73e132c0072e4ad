"""FSRCNN: a narrow network at the LR resolution and one transposed convolution to the HR one.

    first_part (5x5) ── shrink (1x1) ── mapping (3x3) x blocks ── expand (1x1) ── last_part (9x9)
                        └───────────────── mid_part ─────────────────┘

Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016. PReLU with
a slope for each channel follows every layer but the last. As published it enlarges the luma alone
(BT.601, 16 to 235 of 255, in [0, 1]); the chroma is enlarged by bicubic interpolation. Keys are
those of yjn870/FSRCNN-pytorch, whose weights are for scales 2, 3 and 4. They have the same shapes,
so that such a file does not tell its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.generators.enlargement import enlarge_by, filters
from ranksrgan.srgan.generators.generator import Generator, picture
from ranksrgan.srgan.generators.srresnet import check_size
from ranksrgan.srgan.network import convolution, count_keys, outputs_of, said_number

# Rows make Y, Cb and Cr in [0, 1] of RGB in [0, 1]; ITU-R BT.601, studio swing.
_YCBCR = (
    torch.tensor(
        [
            [65.481, 128.553, 24.966],
            [-37.797, -74.203, 112.0],
            [112.0, -93.786, -18.214],
        ],
        dtype=torch.float64,
    )
    / 255
)
_OFFSET = torch.tensor([16.0, 128.0, 128.0], dtype=torch.float64, device="cpu") / 255


class FSRCNN(Generator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    FSRCNN(56, 12, 4) by default: 12,464 weights as the paper counts, which leaves out biases and
    slopes, the same at every scale; 12,809 with them.

    Args:
        features: channels of the first and the last layer (the paper's d).
        blocks: mapping layers (m).
        scale: 2, 3 or 4.
        bottleneck: channels between shrinking and expanding (s).

    Raises:
        InvalidInput: no such scale, or a size below 1.
    """

    architecture = "fsrcnn"
    chroma: Tensor
    to_ycbcr: Tensor
    to_rgb: Tensor
    offset: Tensor

    def __init__(
        self, features: int = 56, blocks: int = 4, scale: int = 4, bottleneck: int = 12
    ) -> None:
        super().__init__()
        check_size(features, blocks, scale)
        if bottleneck < 1:
            raise InvalidInput(f"bottleneck is {bottleneck}; it is at least 1", field="bottleneck")
        self.options = {
            "features": features,
            "blocks": blocks,
            "scale": scale,
            "bottleneck": bottleneck,
        }
        self._features, self._blocks, self._scale = features, blocks, scale
        self.first_part = nn.Sequential(convolution(1, features, 5), nn.PReLU(features))
        self.mid_part = nn.Sequential(convolution(features, bottleneck, 1), nn.PReLU(bottleneck))
        for _ in range(blocks):
            self.mid_part.append(convolution(bottleneck, bottleneck))
            self.mid_part.append(nn.PReLU(bottleneck))
        self.mid_part.append(convolution(bottleneck, features, 1))
        self.mid_part.append(nn.PReLU(features))
        self.last_part = nn.ConvTranspose2d(
            features, 1, 9, stride=scale, padding=4, output_padding=scale - 1
        )
        self.register_buffer("chroma", filters("cubic", scale), persistent=False)
        self.register_buffer("to_ycbcr", _YCBCR.float(), persistent=False)
        self.register_buffer("to_rgb", torch.linalg.inv(_YCBCR).float(), persistent=False)
        self.register_buffer("offset", _OFFSET.float().view(3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.last_part.weight, std=0.001)
        if self.last_part.bias is not None:
            nn.init.zeros_(self.last_part.bias)

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Two for the first layer, one for each mapping layer, and what 9 HR pixels are in LR ones.

        The chroma reaches two.
        """
        return 2 + self._blocks + (1 if self._scale == 4 else 2)

    @property
    def bytes_per_pixel(self) -> int:
        return 4 * (3 * self._features + 16 * self._scale**2)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features = outputs_of(tensors, "first_part.0")
        bottleneck = outputs_of(tensors, "mid_part.0")
        blocks = count_keys(tensors, r"mid_part\.\d+\.bias") - 2
        if not (features and bottleneck and blocks > 0 and outputs_of(tensors, "last_part")):
            return None
        scale = said_number(said, "scale")
        if scale is None:
            raise InvalidCheckpoint(
                "the weights of an FSRCNN are of the same shapes at every scale: convert the file "
                "and say which it is of, 2, 3 or 4",
                field="scale",
            )
        return cls(features, blocks, int(scale), bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        ycbcr = _mix(self.to_ycbcr, x) + self.offset
        features = self.mid_part(self.first_part(ycbcr[:, :1]))
        luma = picture(self.last_part, features)
        enlarged = torch.cat((luma, enlarge_by(self.chroma, ycbcr[:, 1:])), dim=1)
        return _mix(self.to_rgb, enlarged - self.offset)


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix times the colour of every pixel, in the matrix's precision."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum("dc,nchw->ndhw", matrix, x.to(matrix.dtype))
