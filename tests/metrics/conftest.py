"""Fixtures that the tests of metrics share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from ranksrgan.contracts.assets import VARIABLE, get_asset
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


#: Opens image, reference and published value of a metric for three pairs.
Official = Callable[[str], list[tuple[Tensor, Tensor, float]]]


@pytest.fixture(scope="session")
def official(shared_data: Path, image_file: Callable[[Path], Tensor]) -> Official:
    """Three pairs with the values that the authors' programs give, by the name of the metric."""
    folder = shared_data / "testvec" / "iqa"
    with (folder / "expected.csv").open() as file:
        values = {row["metric"]: row for row in csv.DictReader(file)}

    def pairs(metric: str) -> list[tuple[Tensor, Tensor, float]]:
        return [
            (
                image_file(folder / "dist" / f"{name}.bmp"),
                image_file(folder / "ref" / f"{name}.bmp"),
                float(values[metric][name]),
            )
            for name in ("I03", "I04", "I06")
        ]

    return pairs


@pytest.fixture
def published_weights(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets with the published weights that the test data holds."""
    weights = shared_data / "weights"
    for asset, file in {
        "alexnet": "perceptual/alexnet_features.pth",
        "squeezenet": "perceptual/squeezenet1_1_features.pth",
        "lpips-alex": "lpips/lpips_lin_v0.1_alex.pth",
        "lpips-squeeze": "lpips/lpips_lin_v0.1_squeeze.pth",
    }.items():
        (tmp_path / get_asset(asset).file).symlink_to(weights / file)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path
