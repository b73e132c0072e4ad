"""Rank datasets whose contents come one by one, up to a gate.

Offered as the entry point ``rankdataset`` to the processes of a test: a file ``gate`` in a
dataset's folder says how many contents are given out as long as it is there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.rankdata.pairs import open_rank_dataset


class GatedSource:
    """A `PairSource` whose shuffled contents wait at the gate."""

    def __init__(self, source: PairSource, gate: Path) -> None:
        self._source = source
        self._gate = gate

    @property
    def info(self) -> RankedInfo:
        return self._source.info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        return self._source.pairs(seed, start, step)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        contents = self._source.shuffled_contents(seed, start, step)
        return self._waiting(zip(count(start, step), contents, strict=False))

    def contents(self) -> Iterator[RankedContent]:
        return self._source.contents()

    def _waiting(self, numbered: Iterator[tuple[int, RankedContent]]) -> Iterator[RankedContent]:
        for number, content in numbered:
            while self._is_shut(number):
                time.sleep(0.01)
            yield content

    def _is_shut(self, number: int) -> bool:
        try:
            return number >= int(self._gate.read_text())
        except FileNotFoundError:
            return False


def open_gated(folder: str, options: Mapping[str, str]) -> GatedSource:
    return GatedSource(open_rank_dataset(folder, options), Path(folder) / "gate")
