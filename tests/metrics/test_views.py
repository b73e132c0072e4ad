from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import random_views


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orientations(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [image.rot90(k, (1, 2)) for k in range(4)]
    return [*turned, *(view.flip(2) for view in turned)]


@given(seed=st.integers(0, 10_000), jitter=st.integers(1, 4))
def test_a_view_is_a_window_in_one_of_eight_orientations(seed: int, jitter: int) -> None:
    images = torch.arange(2 * 3 * 7 * 7.0).reshape(2, 3, 7, 7)
    views = random_views(images, jitter, seeded(seed))
    side = 7 - jitter
    assert views.shape == (2, 3, side, side)
    for image, view in zip(images, views, strict=True):
        windows = [
            image[:, top : top + side, left : left + side]
            for top in range(jitter + 1)
            for left in range(jitter + 1)
        ]
        assert any(torch.equal(view, o) for window in windows for o in orientations(window))


def test_every_place_and_orientation_occurs_and_the_seed_decides() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    found = {tuple(random_views(image, 1, seeded(seed)).flatten().tolist()) for seed in range(1500)}
    assert len(found) == 4 * 8
    assert torch.equal(random_views(image, 1, seeded(5)), random_views(image, 1, seeded(5)))
    both = random_views(image.expand(64, -1, -1, -1), 1, seeded())
    assert len({tuple(view.flatten().tolist()) for view in both}) > 8  # each image draws its own


def test_what_is_not_square_keeps_its_shape() -> None:
    images = torch.rand(16, 1, 5, 9)
    views = random_views(images, 2, seeded())
    assert views.shape == (16, 1, 3, 7)


def test_no_jitter_changes_nothing_and_gradients_go_through() -> None:
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert random_views(images, 0, seeded()) is images
    assert torch.autograd.gradcheck(lambda x: random_views(x, 2, seeded()), (images,))


@pytest.mark.parametrize("jitter", [-1, 6, 9])
def test_an_impossible_jitter_is_refused(jitter: int) -> None:
    with pytest.raises(InvalidInput, match=rf"jitter of {jitter} pixels for images of 8 x 6"):
        random_views(torch.zeros(1, 3, 6, 8), jitter, seeded())
