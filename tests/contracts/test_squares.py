from __future__ import annotations

import pytest
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, MissingAsset
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.squares import against_square, noise_square, smallest_square


class OfArea:
    """Wants 1600 pixels, whatever its smallest side; lacks its parameters if told so."""

    info = ScorerInfo("area", "1", True, True, False, 8)
    complete = True

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is not None
        if not self.complete:
            raise MissingAsset("area.pth is missing")
        height, width = images.shape[-2:]
        if height * width < 1600:
            raise ImageTooSmall(f"{height * width} pixels are too few")
        return images.double().mean((1, 2, 3))


def test_the_smallest_square_is_not_that_of_the_smallest_side() -> None:
    assert against_square(OfArea(), 8) == "64 pixels are too few"
    assert against_square(OfArea(), 40) is None
    assert [smallest_square(OfArea(), side) for side in (39, 20, 10, 9, 1)] == [
        40,
        40,
        40,
        None,
        None,
    ]


def test_a_scorer_without_its_parameters_tells_no_square() -> None:
    scorer = OfArea()
    scorer.complete = False
    assert smallest_square(scorer, 39) is None
    with pytest.raises(MissingAsset):
        against_square(scorer, 39)


def test_noise_is_the_same_each_time() -> None:
    assert noise_square(5, 2).shape == (2, 3, 5, 5)
    assert noise_square(5).equal(noise_square(5))
