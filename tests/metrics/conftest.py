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
from ranksrgan.metrics.backbones import AlexNet, SqueezeNet, Vgg16


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
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of assets of the right form whose numbers are random."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(7)
    backbones = {"alex": AlexNet(), "squeeze": SqueezeNet(), "vgg": Vgg16()}
    assets = {"alex": "alexnet", "squeeze": "squeezenet", "vgg": "vgg16"}
    for net, backbone in backbones.items():
        state = backbone.state_dict()
        for value in state.values():
            fan_in = value[0].numel() if value.ndim == 4 else 100
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
        torch.save(state, folder / get_asset(assets[net]).file)
        linear = {
            f"lin{tap}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
            for tap, width in enumerate(backbone.widths)
        }
        torch.save(linear, folder / get_asset(f"lpips-{net}").file)
    channels = 3 + sum(Vgg16.widths)
    alpha, beta = torch.rand(2, 1, channels, 1, 1, generator=generator)
    torch.save({"alpha": alpha, "beta": beta}, folder / get_asset("dists").file)
    return folder
