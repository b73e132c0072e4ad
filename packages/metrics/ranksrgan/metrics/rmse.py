"""Root-mean-square error: the distortion axis of PIRM2018.

Y. Blau, R. Mechrez, R. Timofte, T. Michaeli, L. Zelnik-Manor, "The 2018 PIRM challenge on
perceptual image super-resolution", ECCV Workshops, 2018.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.full_reference import (
    CHANNELS,
    Channels,
    LumaScorer,
    channel_pairs,
    plane_mean,
)

#: The largest RMSE of each region of PIRM2018.
PIRM_REGIONS: dict[Literal[1, 2, 3], float] = {1: 11.5, 2: 12.5, 3: 16.0}


def rmse(images: Tensor, references: Tensor, border: int = 0, luma: Channels = "y") -> Tensor:
    """Root of the mean squared difference of 8-bit values, in grey levels of 255.

    Lower is better. PIRM2018 uses ``luma="y"``, rounded as here, and a border of 4; the RMSE of a
    data set is `dataset_rmse` of these, not their mean. With ``luma="rgb"`` the mean is over the
    values of all three channels.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"``, ``"gray"`` or ``"rgb"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: nothing is left inside the border.
    """
    pairs = channel_pairs(images, references, border, luma, rounded=True)
    return torch.stack([plane_mean((x - y).square()).mean() for x, y in pairs]).sqrt()


def dataset_rmse(scores: Tensor) -> float:
    """The RMSE of a data set from those of its images, as PIRM2018 takes it: by their mean square.

    Args:
        scores: ``(N,)``, the `rmse` of each image.

    Raises:
        InvalidInput: no scores, or one that is negative or not finite.
    """
    if scores.ndim != 1 or len(scores) == 0:
        raise InvalidInput(
            f"scores has the shape {tuple(scores.shape)}; (N,) with N at least 1 is wanted",
            field="scores",
        )
    if not bool((scores.isfinite() & (scores >= 0)).all()):
        raise InvalidInput("scores holds what is no RMSE: negative or not finite", field="scores")
    return math.sqrt(float(scores.double().square().mean()))


def pirm_region(rmse: float) -> Literal[1, 2, 3] | None:
    """The region of PIRM2018 that a data-set RMSE falls into; None beyond the third.

    Region 1 goes up to 11.5, region 2 up to 12.5 and region 3 up to 16, bounds included.

    Raises:
        InvalidInput: a negative number or none at all.
    """
    if not rmse >= 0:
        raise InvalidInput(f"{rmse} is no RMSE: that is 0 or more", field="rmse")
    return next((region for region, bound in PIRM_REGIONS.items() if rmse <= bound), None)


class Rmse(LumaScorer):
    """`rmse` as a `Scorer`."""

    metric = "rmse"
    higher_is_better = False
    min_side = 1
    lowest, highest = 0.0, 255.0
    channels = CHANNELS
    measure = staticmethod(rmse)
