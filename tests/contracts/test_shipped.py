from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import MissingAsset, UnknownName
from ranksrgan.contracts.shipped import GENERATORS, RANKERS, ShippedWeights
from ranksrgan.ranker.shipped import SHIPPED as OF_RANKER
from ranksrgan.srgan.shipped import SHIPPED as OF_SRGAN

NETWORKS = ShippedWeights("ranksrgan.contracts", {"first": "first_x4", "second": "second_x2"})


def test_all_names_are_known_without_their_packages() -> None:
    assert list(GENERATORS) == OF_SRGAN.names
    assert list(RANKERS) == OF_RANKER.names


def test_a_name_is_not_a_file() -> None:
    assert NETWORKS.names == ["first", "second"]
    assert NETWORKS.resolve(Path("runs/first.safetensors")) == Path("runs/first.safetensors")
    with pytest.raises(
        UnknownName, match=r"contracts ships no network 'third', only first, second"
    ):
        NETWORKS.path("third")


def test_a_package_without_its_weights_names_the_file() -> None:
    wanted = NETWORKS.folder / "second_x2.safetensors"
    for ask in (NETWORKS.path, NETWORKS.card, lambda name: NETWORKS.resolve(Path(name))):
        with pytest.raises(
            MissingAsset, match="ranksrgan-contracts was installed without"
        ) as caught:
            ask("second")
        assert str(wanted) in str(caught.value)
        assert caught.value.field == "second_x2.safetensors"
