"""The Rankers behind one service."""

from __future__ import annotations

from collections.abc import Mapping

from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.ranker.ensemble import RankerEnsemble
from ranksrgan.ranker.scorer import Ranker


class RankerCatalog:
    """Rankers by the names under which they are served.

    Args:
        rankers: or ensembles of them; each is offered under its key, whatever its own name was.
    """

    def __init__(self, rankers: Mapping[str, Ranker | RankerEnsemble]) -> None:
        self._rankers = {name: ranker.named(name) for name, ranker in rankers.items()}

    def infos(self) -> list[ScorerInfo]:
        return [ranker.info for ranker in self._rankers.values()]

    def open(self, name: str) -> Scorer:
        """The Ranker of that name.

        Raises:
            UnknownName: there is none; the message lists those there are.
        """
        if name not in self._rankers:
            raise UnknownName(
                f"no ranker {name!r} here; there is {', '.join(self._rankers) or 'none'}",
                field="scorer",
            )
        return self._rankers[name]
