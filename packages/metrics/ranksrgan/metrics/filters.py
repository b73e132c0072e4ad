"""Small filters on planes, each a sum of shifted planes in a fixed order.

A convolution of the library may add in another order on another machine or for another batch; these
do not, and in float64 they are the faster way too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_UNDIVIDED = 2**14


def gaussian(size: int, sigma: float) -> list[float]:
    """Weights of a Gaussian window of ``size``, an odd number, that add up to 1."""
    offsets = torch.arange(size, dtype=torch.float64, device="cpu") - size // 2
    bell = (-(offsets**2) / (2 * sigma**2)).exp()
    weights: list[float] = (bell / bell.sum()).tolist()
    return weights


def local_means(planes: Tensor, weights: Sequence[float], step: int = 1) -> Tensor:
    """Weighted mean in the square windows that lie inside ``(K, H, W)``.

    Args:
        planes: ``(K, H, W)``, both sides at least as long as the window.
        weights: of the window along each axis.
        step: from one window to the next.

    Returns:
        ``(K, (H - n) // step + 1, (W - n) // step + 1)`` for n weights.
    """
    for axis in (1, 2):
        windows = planes.unfold(axis, len(weights), step)
        planes = windows[..., 0] * weights[0]
        for k in range(1, len(weights)):
            planes = planes + windows[..., k] * weights[k]
    return planes


def mean_pool(plane: Tensor, size: int) -> Tensor:
    """Mean of each tile of ``size`` x ``size``, zeros beyond the edge.

    The tiles lie as in MATLAB's ``conv2(plane, ones(n) / n^2, 'same')`` of which every n-th row and
    column is kept: the first begins (n - 1) // 2 pixels before the plane.

    Args:
        plane: ``(..., H, W)``.
        size: n.

    Returns:
        ``(..., ceil(H / n), ceil(W / n))``.
    """
    if size == 1:
        return plane
    before = (size - 1) // 2
    height, width = (-(-side // size) for side in plane.shape[-2:])
    padded = F.pad(
        plane,
        (
            before,
            # Negative, which cuts, where the last tiles begin beyond the last wanted ones.
            width * size - before - plane.shape[-1],
            before,
            height * size - before - plane.shape[-2],
        ),
    )
    rows = sum((padded[..., k::size, :] for k in range(1, size)), padded[..., ::size, :])
    total = sum((rows[..., k::size] for k in range(1, size)), rows[..., ::size])
    return total / size**2


def gradient_magnitude(plane: Tensor, side: float, middle: float) -> Tensor:
    """Length of the gradient by 3 x 3 differences, zeros beyond the edge.

    Args:
        plane: ``(H, W)``.
        side: weight of the two outer lines of each difference; 1/3 for Prewitt, 3/16 for Scharr.
        middle: weight of the line between them; 1/3 and 10/16.

    Returns:
        ``(H, W)``.
    """
    padded = F.pad(plane, (1, 1, 1, 1))
    down = padded[2:] - padded[:-2]
    across = padded[:, 2:] - padded[:, :-2]
    down = side * (down[:, :-2] + down[:, 2:]) + middle * down[:, 1:-1]
    across = side * (across[:-2] + across[2:]) + middle * across[1:-1]
    return (down.square() + across.square()).sqrt()


def in_pieces(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """A logarithm or power of each value, the same to the bit for any number of threads.

    PyTorch divides large tensors among threads, and takes the last few values of every share by
    other code than the rest, with other last bits. These pieces are too small to be divided.
    """
    pieces = torch.split(values.flatten(), _UNDIVIDED)
    return torch.cat([function(piece) for piece in pieces]).view_as(values)


def similarity(x: Tensor, y: Tensor, constant: float) -> Tensor:
    """``(2 x y + c) / (x² + y² + c)``: 1 where the two are equal."""
    return (2 * x * y + constant) / (x.square() + y.square() + constant)
