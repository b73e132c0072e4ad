"""`ma_dct` in plain PyTorch.

The order of every sum is part of the definition: columns first, then rows; in a transform the
outermost pair of samples first; in a statistic the coefficients row by row. A transform starts from
the differences to the middle sample, which changes no frequency but the zeroth, so that flat and
one-directional windows have coefficients of exactly 0 where rounding would leave noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

WINDOW = 7
STRIDE = 3
MARGIN = 2

#: Orthonormal DCT: COSINES[u][k] weighs the samples k and 6 - k in coefficient u.
COSINES = [
    [
        math.sqrt((1 if u == 0 else 2) / WINDOW) * math.cos(math.pi * u * (2 * k + 1) / 14)
        for k in range(3)
    ]
    for u in range(WINDOW)
]

#: Which of the three orientations a coefficient belongs to, by vertical and horizontal frequency.
ORIENTATIONS = (
    ".000000",
    "2100000",
    "2211000",
    "2211100",
    "2221111",
    "2222111",
    "2222111",
)

# Added to what a statistic is divided by.
_FLOOR = 1e-7
_ORIENTATION_FLOOR = 1e-8


def ma_dct(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics of the DCT coefficients of 7x7 windows, three pixels apart.

    Args:
        planes: ``(N, H, W)`` float64.

    Returns:
        ``(ratio, variation, orientation)``, each ``(N, ceil(H / 3), ceil(W / 3))``.
    """
    transformed = _transform(planes)
    coefficients = {
        (u, v): transformed[u][v] for u in range(WINDOW) for v in range(WINDOW) if (u, v) != (0, 0)
    }
    values = list(coefficients.values())
    centre = _mean(values)
    distance = _mean([(value - centre).abs() for value in values])
    ratio = _variance(values) / (distance * distance + _FLOOR)

    sizes = {place: value.abs() for place, value in coefficients.items()}
    variation = _variation(list(sizes.values()), _FLOOR)
    orientation = _variance(
        [
            _variation(
                [size for (u, v), size in sizes.items() if ORIENTATIONS[u][v] == one],
                _ORIENTATION_FLOOR,
            )
            for one in "012"
        ]
    )
    return ratio, variation, orientation


def _transform(planes: Tensor) -> list[list[Tensor]]:
    """Coefficient (u, v) of every window as ``[u][v]``, each ``(N, R, C)``."""
    height, width = planes.shape[1:]
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    high, wide = STRIDE * (rows - 1) + 1, STRIDE * (columns - 1) + 1  # from the first to the last
    below, right = high + WINDOW - 1 - MARGIN - height, wide + WINDOW - 1 - MARGIN - width
    padded = F.pad(planes, (MARGIN, right, MARGIN, below))
    vertical = _dct([padded[:, j : j + high : STRIDE] for j in range(WINDOW)])
    return [_dct([one[:, :, j : j + wide : STRIDE] for j in range(WINDOW)]) for one in vertical]


def _dct(samples: Sequence[Tensor]) -> list[Tensor]:
    middle = samples[3]
    even = [(samples[k] - middle) + (samples[6 - k] - middle) for k in range(3)]
    odd = [samples[k] - samples[6 - k] for k in range(3)]
    coefficients = []
    for u, cosines in enumerate(COSINES):
        pairs = odd if u % 2 else even
        coefficients.append(cosines[0] * pairs[0] + cosines[1] * pairs[1] + cosines[2] * pairs[2])
    coefficients[0] = coefficients[0] + math.sqrt(WINDOW) * middle
    return coefficients


def _total(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _mean(values: Sequence[Tensor]) -> Tensor:
    return _total(values) / len(values)


def _variance(values: Sequence[Tensor]) -> Tensor:
    centre = _mean(values)
    return _total([(value - centre) * (value - centre) for value in values]) / (len(values) - 1)


def _variation(sizes: Sequence[Tensor], floor: float) -> Tensor:
    """Standard deviation over mean."""
    return _variance(sizes).sqrt() / (_mean(sizes) + floor)
