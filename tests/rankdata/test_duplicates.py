from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.duplicates import DISTANCE, leaks, near_duplicates, phash
from ranksrgan.rankdata.manifest import level_image

Pixels = npt.NDArray[np.uint8]


def _phash(pixels: Pixels) -> int:
    return phash(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])


def _distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _photographs(folder: Path) -> dict[str, Pixels]:
    return {
        path.stem: np.asarray(read_image(path).colour, np.uint8)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".png", ".jpg")
    }


def test_hash_is_the_definition() -> None:
    """Block means, SciPy's transform and a sort instead of OpenCV's."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (96, 160, 3), dtype=np.uint8)
    grey = pixels.astype(np.float64) @ (0.298936, 0.587043, 0.114021)
    small = grey.reshape(32, 3, 32, 5).mean(axis=(1, 3))
    low = scipy.fft.dctn(small, norm="ortho")[:8, :8].ravel()[1:]
    above = low > sorted(low)[31]
    expected = int("0" + "".join("1" if bit else "0" for bit in above), 2)
    assert _phash(pixels) == expected
    assert expected.bit_count() == 31


@pytest.mark.parametrize("value", [0, 1, 77, 255])
def test_one_colour_has_no_frequencies(value: int) -> None:
    assert phash(torch.full((1, 3, 50, 33), value, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("shape", [(1, 4, 9, 9), (3, 9, 9), (1, 3, 0, 9)])
def test_not_an_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        phash(torch.zeros(shape, dtype=torch.uint8))


def test_versions_of_a_photograph_are_found(shared_data: Path) -> None:
    folder = shared_data / "images" / "bsds500_train"
    photographs = dict(list(_photographs(folder).items())[::10])
    hashes: dict[str, int] = {}
    for name, pixels in photographs.items():
        height, width = pixels.shape[:2]
        half = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        versions = {
            "original": pixels,
            "recompressed": _jpeg(pixels, 40),
            "half": np.asarray(half, np.uint8),
            "brighter": np.clip(pixels.astype(np.int16) + 20, 0, 255).astype(np.uint8),
            "cut": pixels[3:-2, 2:-3],
        }
        hashes |= {f"{name}/{version}": _phash(image) for version, image in versions.items()}
    groups = near_duplicates(hashes)
    assert len(groups) == len(photographs) == 20
    for group in groups:
        assert len(group) == 5
        assert len({name.split("/")[0] for name in group}) == 1


def test_different_photographs_are_different(shared_data: Path) -> None:
    hashes: dict[str, int] = {}
    for folder in ("bsds500_train", "bsds500_test", "bsd100"):
        images = _photographs(shared_data / "images" / folder)
        hashes |= {f"{folder}/{name}": _phash(pixels) for name, pixels in images.items()}
    assert len(hashes) == 500
    assert near_duplicates(hashes) == []
    # The figure in the module's head; the default keeps its distance from it.
    closest = min(_distance(a, b) for a, b in combinations(hashes.values(), 2))
    assert closest == pytest.approx(14, abs=2)
    assert closest >= DISTANCE + 4


def _by_hand(hashes: dict[str, int], distance: int) -> list[tuple[str, ...]]:
    groups: list[set[str]] = []
    for name in hashes:
        joined = {name}
        apart = []
        for group in groups:
            if any(_distance(hashes[name], hashes[other]) <= distance for other in group):
                joined |= group
            else:
                apart.append(group)
        groups = [*apart, joined]
    return sorted(tuple(sorted(group)) for group in groups if len(group) > 1)


@given(
    values=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 63), max_size=30),
    distance=st.integers(0, 12),
)
def test_groups_are_connected_components(values: list[int], distance: int) -> None:
    hashes = {f"n{index}": value for index, value in enumerate(values)}
    assert near_duplicates(hashes, distance) == _by_hand(hashes, distance)


def test_a_chain_joins_across_blocks() -> None:
    """More hashes than one block of rows, the three that belong together far apart."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**64, 1500, dtype=np.uint64).tolist()
    hashes = {f"{index:04}": value for index, value in enumerate(values)}
    hashes["0003"], hashes["0700"], hashes["1400"] = 0xFF00, 0x0F00, 0x0F0F
    assert near_duplicates(hashes, 4) == [("0003", "0700", "1400")]


def test_ten_thousand_images_with_many_alike() -> None:
    """Half of them are equal: their 12 million pairs must not be looked at one by one."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**64, 5000, dtype=np.uint64).tolist() + [0] * 5000
    hashes = {f"{index:04}": value for index, value in enumerate(values)}
    groups = near_duplicates(hashes, 6)
    assert [len(group) for group in groups] == [5000]


def _photograph(seed: int) -> Pixels:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (16, 24), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_leaks_across_splits(write_dataset: Callable[..., Path]) -> None:
    splits = {"a": "train", "b": "val", "c": "train", "d": "train", "e": "test"}
    scores = {(source, split, 0): (2.0, 1.0) for source, split in splits.items()}
    folder = write_dataset(scores)
    # a and b are one photograph, c and d another that stays within training.
    for seed, source in enumerate("acea"):
        write_image(level_image(folder, "low", source), Picture(_photograph(seed)))
    for original, copy in (("a", "b"), ("c", "d")):
        pixels = to_tensor(read_image(level_image(folder, "low", original)))[0]
        brighter = (pixels.int() + 4).clamp(0, 255).byte().permute(1, 2, 0).numpy()
        write_image(level_image(folder, "low", copy), Picture(brighter))
    dataset = RankDataset.open(folder)
    found = leaks(dataset)
    assert found
    assert found.sources == ()
    assert found.duplicates == ({"a": "train", "b": "val"},)
    # By the original, where there is one: here noise that differs from source to source.
    levels = tuple(
        level.model_copy(update={"kind": "hr"}) if level.name == "high" else level
        for level in dataset.record.levels
    )
    originals = replace(dataset, record=dataset.record.model_copy(update={"levels": levels}))
    assert not leaks(originals)


def test_a_source_in_two_splits(by_hand: RankDataset) -> None:
    moved = by_hand.contents[0]._replace(split="test")
    broken = replace(by_hand, contents=(moved, *by_hand.contents[1:]))
    assert leaks(broken).sources == (moved.source,)
    assert not leaks(by_hand)
