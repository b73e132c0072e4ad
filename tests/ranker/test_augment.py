from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.augment import noise, pair_views


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_both_members_of_a_pair_are_seen_through_one_window() -> None:
    first = torch.arange(6 * 3 * 9 * 9.0).reshape(6, 3, 9, 9)
    seen = pair_views(torch.cat([first, 2 * first]), 4, seeded())
    assert seen.shape == (12, 3, 5, 5)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    a, b = seen.chunk(2)
    assert torch.equal(2 * a, b)
    corners = {tuple(view[0, [0, 0, -1], [0, -1, 0]].tolist()) for view in a - a[:, :1, :1, :1]}
    assert len(corners) > 1  # and pairs through different ones


def test_no_jitter_leaves_the_images_alone_and_too_much_is_refused() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert pair_views(images, 0, seeded()) is images
    with pytest.raises(InvalidInput, match="jitter of 8 pixels for images of 8 x 8"):
        pair_views(images, 8, seeded())


def test_noise_has_one_strength_a_pair_up_to_the_largest() -> None:
    drawn = noise(torch.Size((200, 3, 16, 16)), 0.1, seeded(1))
    assert torch.equal(drawn, noise(torch.Size((200, 3, 16, 16)), 0.1, seeded(1)))
    a, b = (half.flatten(1).std(1) for half in drawn.chunk(2))
    torch.testing.assert_close(a, b, rtol=0.2, atol=0)
    assert a.max() < 0.105
    assert a.min() < 0.01
    assert a.mean().item() == pytest.approx(0.05, abs=0.01)
    assert not torch.equal(drawn[:100], drawn[100:])  # the noise itself is each image's own
