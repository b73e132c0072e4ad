"""A service of one scorer, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.rpc import RunningServer, start_server
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.serving.scoring import ScoringServicer


class OneScorer:
    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def infos(self) -> list[ScorerInfo]:
        return [self._scorer.info]

    def open(self, name: str) -> Scorer:
        if name != self._scorer.info.name:
            raise UnknownName(f"no scorer {name}", field=name)
        return self._scorer


@contextmanager
def serving(scorer: Scorer, address: str) -> Iterator[RunningServer]:
    server = start_server(address, [ScoringServicer(OneScorer(scorer))])
    try:
        yield server
    finally:
        server.stop()
