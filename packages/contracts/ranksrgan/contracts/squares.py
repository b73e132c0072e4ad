"""Which squares a scorer takes: its smallest side need not be enough for them.

NIQE wants two blocks of 96 x 96 pixels: 96 x 192 will do, and of squares 192 x 192.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooSmall, MissingAsset, UndefinedScore
from ranksrgan.contracts.scorer import Scorer


def noise_square(side: int, images: int = 1) -> Tensor:
    """``(images, 3, side, side)`` uint8, the same each time."""
    random = torch.Generator().manual_seed(0)
    shape = (images, 3, side, side)
    return torch.randint(256, shape, generator=random, dtype=torch.uint8, device="cpu")


def against_square(
    scorer: Scorer, side: int, noise: Callable[[int], Tensor] = noise_square
) -> str | None:
    """What a scorer has against squares of so many pixels a side; None if it takes them.

    Args:
        scorer: is given some, for which it needs its parameters.
        side: of them.
        noise: makes them of that side, where and as the scorer will get its images.

    Raises:
        MissingAsset: the parameters are not here; says where to get them.
        RankSRGANError: anything else that is no matter of the size (service gone, cancelled).
    """
    cancellation.check()
    squares = noise(side)
    try:
        scorer.score(squares, squares if scorer.info.needs_reference else None)
    except ImageTooSmall as error:
        return error.message
    except UndefinedScore:
        pass  # of this noise, and no matter of the size
    return None


def smallest_square(
    scorer: Scorer, side: int, noise: Callable[[int], Tensor] = noise_square
) -> int | None:
    """The side of the smallest square that a scorer takes.

    Args:
        scorer: is tried out; where it lacks its parameters, nobody can say.
        side: of one that is too small.
        noise: see `against_square`.

    Returns:
        None if it is more than four times as large as ``side`` and the scorer's smallest side.

    Raises:
        RankSRGANError: see `against_square`.
    """
    least = max(side, scorer.info.min_side)
    with suppress(MissingAsset):
        for large in (2 * least, 4 * least):
            if against_square(scorer, large, noise) is None:
                sides = range(least, large + 1)
                fits = bisect_left(
                    sides, 1, key=lambda at: against_square(scorer, at, noise) is None
                )
                return sides[fits]
    return None
