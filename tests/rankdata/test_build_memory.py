from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.rankdata import BuildConfig, build, candidates, manifest
from ranksrgan.rankdata.building import source as build_source

MIB = 2**20


class _Corner:
    """As cheap as a score can be, and another one for each level."""

    info = ScorerInfo("corner", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images[:, 0, 0, 0].double()


def _peak(folder: Path, images: int) -> int:
    """Bytes of Python objects and arrays at the height of a build."""
    random = np.random.default_rng(images)
    for index in range(images):
        pixels = random.integers(0, 256, (17, 17, 3), dtype=np.uint8)
        write_image(folder / "hr" / f"{index}.png", Picture(pixels))
    config = BuildConfig(
        hr=folder / "hr",
        output=folder / "out",
        levels={"hr": "hr", "noisy": "noise:20"},
        scale=1,
        crop=8,
        stride=1,
    )
    gc.collect()
    gc.freeze()  # what other tests left would make the collector wait longer with garbage of ours
    tracemalloc.start()
    try:
        summary = build(config, scorer=_Corner())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert summary.counts.crops_kept == images * 10 * 10
    return peak


def test_memory_does_not_grow_with_the_crops_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops that overlap are many times their image: here 2,500 of 12,288 bytes, 31 MB."""
    largest = 0
    real = candidates.cut

    def measured(image: Tensor, boxes: Sequence[candidates.Box]) -> Tensor:
        nonlocal largest
        crops = real(image, boxes)
        largest = max(largest, crops.numel())
        return crops

    monkeypatch.setattr(candidates, "cut", measured)
    monkeypatch.setattr(build_source, "cut", measured)
    random = np.random.default_rng(0)
    for index in range(2):
        pixels = random.integers(0, 256, (113, 113, 3), dtype=np.uint8)
        write_image(tmp_path / "hr" / f"{index}.png", Picture(pixels))
    config = BuildConfig(
        hr=tmp_path / "hr",
        output=tmp_path / "out",
        levels={"hr": "hr", "noisy": "noise:20"},
        scale=1,
        crop=64,
        stride=1,
    )
    assert build(config, scorer=_Corner()).counts.crops_kept == 2 * 50 * 50
    assert largest == 16 * 3 * 64 * 64


@pytest.mark.slow  # half a minute
def test_memory_does_not_grow_with_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(manifest, "_ROWS_PER_GROUP", 2000)  # which few images fill
    _peak(tmp_path / "warm", 2)
    few, many = (_peak(tmp_path / f"{images}", images) for images in (50, 500))
    # 450 images more are 90,000 rows more. Kept, they would take hundreds of bytes each, tens of MB
    # in all. What is kept of an image is its name, split, hashes and number of crops; and comparing
    # 500 perceptual hashes takes 2 MB.
    assert many - few < 4 * MIB
