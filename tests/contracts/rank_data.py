"""A small rank data service: sources that count what is asked of them, builds that only begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, cast

import torch

from ranksrgan.contracts import Pair, RankedContent, RankedInfo
from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.operations.jobs import JobPhase
from ranksrgan.contracts.operations.rank_data_service import (
    BUILD_OPERATION,
    RankDataCatalog,
    RankDataServicer,
)
from ranksrgan.contracts.operations.servicer import OperationsServicer
from ranksrgan.contracts.operations.supervisor import Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.pairs import PairSelection, RankDatasetInfo

FACTS = ("niqe", False, ("low", "high"), 3, 3, "0" * 64, {"ma": True})
INFO = RankedInfo(*FACTS, one_size=True, infinite={"ma": "low"})


class Numbers:
    """Item ``k`` of the stream of ``seed`` is an image in the colours (k, seed, 0)."""

    def __init__(self, side: int = 4, info: RankedInfo = INFO) -> None:
        self.info = info
        self.side = side
        self.made = 0
        self.closed = 0
        #: Called before each item with its position.
        self.before: Callable[[int], object] = lambda position: None

    def image(self, *colour: int) -> torch.Tensor:
        pixels = torch.tensor(colour, dtype=torch.uint8).reshape(3, 1, 1)
        return pixels.expand(3, self.side, self.side).float() / 255

    def _positions(self, start: int, step: int) -> Iterator[int]:
        try:
            for position in count(start, step):
                self.before(position)
                self.made += 1
                yield position
        finally:
            self.closed += 1

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        for k in self._positions(start, step):
            yield Pair(self.image(k % 256, seed, 0), self.image(k % 256, seed, 1), -1.0)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        return (self._content(k, seed) for k in self._positions(start, step))

    def contents(self, start: int = 0, step: int = 1) -> Iterator[RankedContent]:
        chosen = islice(self._positions(start, step), len(range(start, self.info.contents, step)))
        return (self._content(k, 0) for k in chosen)

    def _content(self, k: int, seed: int) -> RankedContent:
        images = torch.stack([self.image(k % 256, seed, level) for level in range(2)])
        scores = torch.tensor([k + 0.25, k], dtype=torch.float64)
        further = {"ma": -scores}
        return RankedContent(f"content{k}", ("low", "high"), images, scores, further, images[1])


class Shelf:
    """One source under every name but ``datasets/none``; remembers what was asked for."""

    def __init__(self, source: Numbers | None = None) -> None:
        self.source = source or Numbers()
        self.selections: list[PairSelection] = []
        self.names = [f"datasets/{letter}" for letter in "abcde"]

    def open(self, name: str, selection: PairSelection) -> Numbers:
        self._check(name)
        self.selections.append(selection)
        return self.source

    def info(self, name: str) -> RankDatasetInfo:
        self._check(name)
        return RankDatasetInfo(
            name=name,
            metric="niqe",
            higher_is_better=False,
            levels=("low", "high"),
            sources={"train": 2},
            contents={"train": 3},
            dropped={"odd": 1},
            crop=4,
            further={"ma": True},
            created=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        )

    def infos(self, after: str, limit: int) -> list[RankDatasetInfo]:
        return [self.info(name) for name in self.names if name > after][:limit]

    def _check(self, name: str) -> None:
        if name == "datasets/none":
            raise UnknownName("dataset: there is no datasets/none", field="dataset")


class Builder:
    """Takes any request and has it at work at once."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], str]] = []
        self.report = JobReport(
            id="rankdata-000001-00000000",
            kind="BuildRankDataset",
            target="datasets/new",
            phase=JobPhase.RUNNING,
            created=1.0,
            started=2.5,
            ended=None,
            attempts=1,
            progress={},
            result=None,
            error=None,
        )

    def submit(self, dataset_id: str, config: dict[str, Any], request_id: str) -> JobReport:
        self.requests.append((dataset_id, config, request_id))
        return self.report


def serving(
    catalog: RankDataCatalog,
    builder: Builder | None = None,
    kind: type[RankDataServicer] = RankDataServicer,
) -> RankDataServicer:
    operations = OperationsServicer(cast(Supervisor, None), {"BuildRankDataset": BUILD_OPERATION})
    return kind(catalog, builder or Builder(), operations)
