"""The native operators of convolutions again, in plain PyTorch.

Each is the oracle that its operator is tested against. Slower than a convolution of torch: nothing
that wants speed falls back on them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_PIXELS = torch.tensor(  # B'
    [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]],
    dtype=torch.float32,
    device="cpu",
)
_OUTPUTS = torch.tensor(  # A'
    [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]], dtype=torch.float32, device="cpu"
)


def winograd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    out: Tensor,
    residual: Tensor | None,
    factor: float,
    slope: float,
    shuffle: int,
) -> None:
    """A 3x3 convolution and what follows it, into ``out``.

    Args:
        x: ``(1, C, H, W)`` float32 or bfloat16; beyond its border it is 0.
        weight: ``(blocks, 16, C / n, outputs of a block, n)`` bfloat16 or float32, the type that is
            computed in; see `winograd.pack`.
        bias: of each output, float32.
        out: ``(1, outputs / shuffle^2, shuffle * H, shuffle * W)`` float32 or bfloat16; like ``x``
            float32 where the weights are.
        residual: float32 of the shape of ``out``, which is float32 then: what ``factor`` times the
            result is added to.
        factor: of the result, where there is a residual.
        slope: 0 to 1, of negative results.
        shuffle: outputs ``phase * C' + c`` become the pixels of a square in channel c.
    """
    _, channels, height, width = x.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    padded = F.pad(x.float(), (1, 2 * columns - width + 1, 1, 2 * rows - height + 1))
    tiles = padded[0].unfold(1, 4, 2).unfold(2, 4, 2)
    # One side after the other, as the operator does: each is a sum of two, and so is the rounding.
    columns_done = torch.einsum("ai,chwij->achwj", _PIXELS, tiles)
    v = torch.einsum("bj,achwj->abchw", _PIXELS, columns_done).to(weight.dtype).float()
    u = weight.float().permute(1, 2, 4, 0, 3).reshape(4, 4, channels, -1)
    made = torch.einsum(
        "ia,jb,abohw->ohiwj", _OUTPUTS, _OUTPUTS, torch.einsum("abchw,abco->abohw", v, u)
    )
    y = made.reshape(-1, 2 * rows, 2 * columns)[:, :height, :width] + bias[:, None, None]
    y = torch.maximum(y, slope * y)
    if shuffle > 1:
        planes = y.reshape(shuffle**2, -1, height, width).transpose(0, 1)
        y = F.pixel_shuffle(planes.reshape(-1, height, width), shuffle)
    out.copy_(y[None] if residual is None else residual + factor * y[None])


def convolve_to_rgb(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution to three channels.

    Args:
        x: ``(1, C, H, W)`` float32 or bfloat16; beyond its border it is 0.
        weight: ``(C, 32)`` float32, that of output o and tap t, row by row, at 3 t + o.
        bias: ``(3,)`` float32.

    Returns:
        ``(1, 3, H, W)`` float32.
    """
    filters = weight[:, :27].reshape(-1, 3, 3, 3).permute(3, 0, 1, 2)
    return F.conv2d(x.float(), filters, bias, padding=1)
