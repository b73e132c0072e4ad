"""``ranksrgan-ranker serve`` in a process of its own, and the rank datasets in its data root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata.manifest import (
    FORMAT,
    Counts,
    LevelRecord,
    Record,
    Row,
    level_image,
    write_manifest,
    write_record,
)
from tests.contracts.served import PATIENCE, Serving, offering

SIDE = 32
RMSE = ScorerInfo("rmse", "1", False, True, False, 1)

_ENTRY_POINTS = "[ranksrgan.pair_sources]\nrankdataset = gated_source:open_gated\n"


class RankerServing(Serving):
    """A server of Rankers whose datasets may have gates.

    Args:
        root: its data root.
        flags: of the command, beside.
    """

    def __init__(self, root: Path, *flags: str) -> None:
        environment = offering(root, _ENTRY_POINTS, Path(__file__).parent)
        super().__init__(root, "ranksrgan.ranker.cli", *flags, environment=environment)
        self.training = RankerTrainingClient(self.address, timeout=PATIENCE, retry_for=PATIENCE)

    def gate(self, dataset: str) -> Path:
        return self.root / dataset / "gate"


def write_dataset(
    folder: Path, scores: Mapping[str, list[tuple[float, ...]]], levels: tuple[str, ...]
) -> None:
    """A rank dataset by hand: for each split, the scores of the versions of its contents."""
    random = np.random.default_rng(0)
    rows = []
    for split, contents in scores.items():
        for index, values in enumerate(contents):
            source = f"{split}{index}"
            for level, score in zip(levels, values, strict=True):
                pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                write_image(level_image(folder, level, source), Picture(pixels))
                rows.append(Row(source, split, level, 0, 0, SIDE, SIDE, score, "0" * 64, 1.0))
    write_manifest(folder, rows)
    record = Record(
        format=FORMAT,
        metric=RMSE,
        levels=tuple(LevelRecord(name=name, spec=name, kind="folder", facts={}) for name in levels),
        counts=Counts(
            sources=len(rows),
            sources_smaller_than_crop=0,
            sources_without_kept_crop=0,
            crops_kept=len(rows) // len(levels),
            crops_dropped={},
        ),
        config={},
        run={},
    )
    write_record(folder, record)
