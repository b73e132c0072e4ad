"""Fixtures that the tests of metrics share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
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


@pytest.fixture(scope="session")
def ma_mat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Ma model of random trees in the layout of the authors' file, which cannot be had here."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("ma") / "ma_model.mat"
    cells = np.empty((1, 3), dtype=object)
    for group, inputs in enumerate((18, 45, 75)):
        cells[0, group] = _random_forest(random, inputs, trees=7)
    linear = np.array([[0.5], [0.2], [0.3], [0.4]])
    scipy.io.savemat(path, {"model": {"rf": cells, "linear": linear}}, do_compression=True)
    return path


def _random_forest(random: np.random.Generator, inputs: int, trees: int) -> dict[str, Any]:
    """Fields and their order as the authors' training program writes them; counts from 1."""
    rows = 41  # more than any tree uses
    arrays: dict[str, Any] = {
        "lDau": np.zeros((rows, trees), dtype=np.int32),
        "rDau": np.zeros((rows, trees), dtype=np.int32),
        "nodestatus": np.full((rows, trees), "\x01", dtype="U1"),
        "nrnodes": float(rows),
        "upper": np.zeros((rows, trees)),
        "avnode": np.zeros((rows, trees)),
        "mbest": np.zeros((rows, trees), dtype=np.int32),
        "ndtree": np.zeros((trees, 1), dtype=np.int32),
        "ntree": float(trees),
        "coef": np.zeros((2, 1)),
    }
    for tree in range(trees):
        splits = int(random.integers(0, rows // 2 + 1)) if tree else 0  # the first is one leaf
        arrays["ndtree"][tree] = 2 * splits + 1
        leaves = [0]
        for used in range(splits):
            node = leaves.pop(int(random.integers(len(leaves))))
            arrays["lDau"][node, tree], arrays["rDau"][node, tree] = 2 * used + 2, 2 * used + 3
            arrays["mbest"][node, tree] = random.integers(1, inputs + 1)
            arrays["upper"][node, tree] = random.choice([0.05, 0.3, 0.9, 1.5, 3.0, 20.0])
            leaves += [2 * used + 1, 2 * used + 2]
        arrays["avnode"][: 2 * splits + 1, tree] = random.uniform(0, 10, 2 * splits + 1)
    return arrays
