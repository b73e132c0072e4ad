"""Small photographs and small datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.manifest import (
    FORMAT,
    Counts,
    LevelRecord,
    Record,
    Row,
    level_image,
    read_manifest,
    write_manifest,
    write_record,
)

NIQE = ScorerInfo(
    name="niqe",
    version="1",
    higher_is_better=False,
    needs_reference=False,
    differentiable=False,
    min_side=96,
)


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """Four crops of photographs, 101 x 98 pixels, so that a scale of 4 has to cut something."""
    folder = tmp_path / "hr"
    places = {
        "astronaut": (60, 180),
        "chelsea": (80, 120),
        "coffee": (100, 200),
        "rocket": (250, 150),
    }
    for name, (top, left) in places.items():
        photograph = getattr(skimage.data, name)()
        write_image(folder / f"{name}.png", Picture(photograph[top : top + 101, left : left + 98]))
    return folder


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dataset by hand: scores per level of contents named (source, split, top)."""

    def write(
        scores: dict[tuple[str, str, int], tuple[float, ...]],
        levels: tuple[str, ...] = ("low", "high"),
        metric: ScorerInfo = NIQE,
        size: int = 8,
    ) -> Path:
        folder = tmp_path / "by-hand"
        random = np.random.default_rng(0)
        for source in {key[0] for key in scores}:
            for level in levels:
                pixels = random.integers(0, 256, (24, 16, 3), dtype=np.uint8)
                write_image(level_image(folder, level, source), Picture(pixels))
        write_manifest(
            folder,
            [
                Row(source, split, level, top, 2, size, size, score, "0" * 64, 1.0)
                for (source, split, top), values in scores.items()
                for level, score in zip(levels, values, strict=True)
            ],
        )
        counts = Counts(
            sources=9,
            sources_smaller_than_crop=0,
            sources_without_kept_crop=0,
            crops_kept=len(scores),
            crops_dropped={"undefined_score": 3},
        )
        write_record(
            folder,
            Record(
                format=FORMAT,
                metric=metric,
                levels=tuple(
                    LevelRecord(name=name, spec=name, kind="folder", facts={}) for name in levels
                ),
                counts=counts,
                config={},
                run={},
            ),
        )
        return folder

    return write


@pytest.fixture
def by_hand(write_dataset: Callable[..., Path]) -> RankDataset:
    """Three levels; six contents of three sources, two of them with a tie."""
    return RankDataset.open(
        write_dataset(
            {
                ("one", "train", 0): (5.0, 4.0, 3.0),
                ("one", "train", 8): (5.0, 4.0, 4.0),
                ("one", "train", 16): (3.0, 5.0, 4.0),
                ("two", "train", 0): (2.0, 2.0, 2.0),
                ("three", "val", 0): (6.0, 4.0, 4.5),
                ("three", "val", 4): (6.0, 5.0, 1.0),
            },
            levels=("low", "mid", "high"),
        )
    )


@pytest.fixture
def hashed(by_hand: RankDataset) -> RankDataset:
    """The same with the true hashes of its files."""

    def true_hash(row: Row) -> str:
        path = level_image(by_hand.folder, row.level, row.source)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    rows = [row._replace(sha256=true_hash(row)) for row in read_manifest(by_hand.folder)]
    write_manifest(by_hand.folder, rows)
    return RankDataset.open(by_hand.folder, check_hashes=True)
