"""Natural-scene statistics of luma blocks: the features of NIQE.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE
Signal Processing Letters 20(3), 2013, section II, with the details of the published software.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.aggd import aggd_table
from ranksrgan.metrics.luma import Convention, check_border, check_convention

#: Side of the blocks that features are taken from, at full size; half of it at half size.
BLOCK = 96
FEATURES = 36

# That each thread gets in one call of the operator, or one image: 10 to 20 ms.
_PIXELS_TOGETHER = 2**21


def nss_features(
    images: Tensor, border: int = 0, luma: Convention = "y", *, fast: bool = False
) -> Tensor:
    """Features of each block of 96 x 96, in row order.

    From the image to its features in one go: luma rounded to 8 bits, its contrast-normalised
    values at full and at half size (see `mscn` and `imresize`), and generalised Gaussians fitted
    by moments to these values and to their products with four neighbours.

    The sums are taken in an order that depends neither on the batch, nor on the number of threads,
    nor on how wide the processor's registers are.

    Args:
        images: ``(N, 3|1, H, W)``, uint8 or floating point in [0, 1] (unchecked; anything else
            counts as the nearest level). No gradient flows: the luma is rounded.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        fast: normalise and sum in float32: an eighth less time, and six good digits of nearly all
            features (where a ratio lies half-way between two shapes of the table, three).

    Returns:
        ``(N, P, 36)`` float64: 18 at full size, 18 at half size, each the shape and the mean scale
        of the contrast-normalised values, then shape, mean, left and right scale of the products
        of neighbours to the left, above and on both diagonals above. NaN where a block is too flat
        for a feature; the shape is 0.2 there.

    Raises:
        InvalidInput: another type or shape, or no such border or luma.
        ImageTooSmall: no block fits.
    """
    check_border(border)
    check_convention(luma)
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InvalidInput(
            f"images: uint8 or floating point wanted, got {images.dtype}", field="images"
        )
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InvalidInput(
            f"images: shape (N, 3 or 1, H, W) wanted, got {tuple(images.shape)}", field="images"
        )
    if block_count(images, border) == 0:
        height, width = images.shape[2:]
        raise ImageTooSmall(
            f"images: {BLOCK} x {BLOCK} pixels inside a border of {border} wanted for one block, "
            f"got {height} x {width}",
            field="images",
        )
    images = images.detach()
    if images.dtype not in (torch.uint8, torch.float32, torch.float64):
        images = images.float()  # exact: the others are shorter
    operator = native.operator("nss_features", twin=reference.nss_features, register=_register)
    table, gray = aggd_table(images.device), luma == "gray"
    if images.is_cuda:
        together = len(images)
    elif operator is reference.nss_features:
        together = 1  # it takes a hundred times as long for one
    else:
        together = _images_together(images.shape[-2:].numel())
    parts: list[Tensor] = []
    for start in range(0, max(1, len(images)), max(1, together)):
        cancellation.check()
        part = images[start : start + together] if together < len(images) else images
        parts.append(operator(part, table, border, gray, fast))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _images_together(pixels: int) -> int:
    """Images of so many pixels that one call of the operator takes on a CPU.

    Between calls it is noticed that nobody waits any more; in one call, threads seldom have to wait
    for one another.
    """
    return torch.get_num_threads() * max(1, _PIXELS_TOGETHER // pixels)


def block_count(images: Tensor, border: int) -> int:
    """Whole blocks of each of ``(..., H, W)`` inside the border."""
    rows, columns = (max(0, side - 2 * border) // BLOCK for side in images.shape[-2:])
    return rows * columns


def _register(name: str) -> None:
    """Tell torch the shapes that the compiled operator ``name`` returns."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.nss_features)
    torch.library.register_fake(name, _fake)


def _fake(images: Tensor, table: Tensor, border: int, gray: bool, single: bool) -> Tensor:
    rows, columns = ((side - 2 * border) // BLOCK for side in images.shape[2:])
    return images.new_empty((images.shape[0], rows * columns, FEATURES), dtype=torch.float64)
