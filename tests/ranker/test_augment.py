from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.augment import content_views, noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", [torch.arange(6).repeat(2), torch.arange(6).repeat_interleave(2)])
def test_all_versions_of_a_content_are_seen_through_one_window(group: torch.Tensor) -> None:
    contents = torch.arange(6 * 3 * 9 * 9.0).reshape(6, 3, 9, 9)
    second = torch.zeros(12, dtype=torch.bool)
    second[[int((group == g).nonzero()[1]) for g in range(6)]] = True
    images = contents[group] * (1 + second[:, None, None, None].float())
    seen = content_views(images, group, 4, seeded())
    assert seen.shape == (12, 3, 5, 5)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    a, b = seen[~second], seen[second]
    assert torch.equal(2 * a, b)
    corners = {tuple(view[0, [0, 0, -1], [0, -1, 0]].tolist()) for view in a - a[:, :1, :1, :1]}
    assert len(corners) > 1  # and contents through different ones


def test_no_jitter_leaves_the_images_alone_and_too_much_is_refused() -> None:
    images, group = torch.rand(4, 3, 8, 8), torch.tensor([0, 0, 1, 1])
    assert content_views(images, group, 0, seeded()) is images
    with pytest.raises(InvalidInput, match="jitter of 8 pixels for images of 8 x 8"):
        content_views(images, group, 8, seeded())


def test_noise_has_one_strength_a_content_up_to_the_largest() -> None:
    size, group = torch.Size((200, 3, 16, 16)), torch.arange(100).repeat(2)
    drawn = noise(group, size, 0.1, seeded(1))
    assert torch.equal(drawn, noise(group, size, 0.1, seeded(1)))
    a, b = (half.flatten(1).std(1) for half in drawn.chunk(2))
    torch.testing.assert_close(a, b, rtol=0.2, atol=0)
    assert a.max() < 0.105
    assert a.min() < 0.01
    assert a.mean().item() == pytest.approx(0.05, abs=0.01)
    assert not torch.equal(drawn[:100], drawn[100:])  # the noise itself is each image's own
