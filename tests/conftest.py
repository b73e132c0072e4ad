"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


# Tests are small: one thread each is fastest, and lets several processes share a machine. Children
# inherit it, so that what they compute is equal to the bit.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
