"""Fixtures that the tests of metrics share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from ranksrgan.contracts.images import read_image, to_tensor


@pytest.fixture(scope="session")
def photograph() -> Callable[[str], Tensor]:
    """A photograph that scikit-image ships, ``(1, 3|1, H, W)`` uint8."""

    def load(name: str) -> Tensor:
        pixels = np.atleast_3d(getattr(skimage.data, name)())
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())

    return load


@pytest.fixture(scope="session")
def image_file() -> Callable[[Path], Tensor]:
    """An image file, ``(1, 3|1, H, W)``."""
    return lambda path: to_tensor(read_image(path))
