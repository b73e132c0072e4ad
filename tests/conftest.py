"""Fixtures that every package's tests share."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from ranksrgan.contracts.assets import get_asset
from ranksrgan.metrics.backbones import AlexNet, SqueezeNet, Vgg16

# A machine that is busy is no defect of the code.
settings.register_profile(
    "any_machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test images, weights and official vectors that is not part of the repository.

    It lies beside the checkout (``shared/data``) or where ``RANKSRGAN_TEST_DATA`` says; tests that
    need it are skipped where it is absent.
    """
    places = [os.environ.get("RANKSRGAN_TEST_DATA", "")]
    root = Path(__file__).resolve().parents[1]
    places += [str(root.parent / "shared" / "data"), str(root / "shared" / "data")]
    for place in places:
        if place and (Path(place) / "MANIFEST.tsv").is_file():
            return Path(place)
    pytest.skip("the shared test data is not here (set RANKSRGAN_TEST_DATA)")


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


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that is run within the tests sets up logging for its process, which is ours."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


def pytest_collection_finish() -> None:
    """Modules and tests stay: the collector would look through them a hundred times."""
    gc.freeze()


# Tests are small: one thread each is fastest, and lets several processes share a machine. Children
# inherit it, so that what they compute is equal to the bit.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
