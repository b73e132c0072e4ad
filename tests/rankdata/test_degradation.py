from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.metrics import imresize
from ranksrgan.rankdata.degradation import degrade, read_rgb, read_source


def test_source_is_cropped_at_bottom_and_right_then_degraded(hr: Path) -> None:
    whole = read_rgb(hr / "chelsea.png")
    source = read_source(hr / "chelsea.png", 4)
    assert source.size == (101, 98)
    assert torch.equal(source.hr, whole[..., :100, :96])
    exact = imresize(source.hr.double() / 255, scale=0.25)
    levels = source.lr.double() * 255
    assert source.lr.shape == (1, 3, 25, 24)
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    # Rounded after each of the two passes, so up to a level from the exact value.
    assert (levels - exact.clamp(0, 1) * 255).abs().max() <= 1.0


def test_overshoot_is_clamped_not_wrapped() -> None:
    edge = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    edge[..., 14:] = 255
    lr = degrade(edge, 4)
    assert imresize(edge.double() / 255, scale=0.25).max() > 1
    assert lr.min() == 0
    assert lr.max() == 1


def test_scale_one_changes_nothing(hr: Path) -> None:
    source = read_source(hr / "coffee.png", 1)
    assert torch.equal(source.lr, source.hr.float() / 255)


def test_grey_and_16_bits_become_8_bit_rgb(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 65535, 257]], dtype=np.uint16)[..., None]
    write_image(tmp_path / "deep.png", Picture(deep))
    # 65535 / 255 = 257: 128 lies below the half of it, 129 above.
    expected = torch.tensor([0, 0, 1, 255, 1], dtype=torch.uint8).expand(1, 3, 1, 5)
    assert torch.equal(read_rgb(tmp_path / "deep.png"), expected)


def test_image_smaller_than_the_scale(tmp_path: Path) -> None:
    write_image(tmp_path / "dot.png", Picture(np.zeros((3, 9, 3), np.uint8)))
    with pytest.raises(ImageTooSmall, match=r"dot\.png is 9 x 3"):
        read_source(tmp_path / "dot.png", 4)
