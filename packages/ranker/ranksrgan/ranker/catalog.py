"""The Rankers behind one service."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.serving.loaded_models import LoadedModels
from ranksrgan.contracts.serving.served_models import ServedModels
from ranksrgan.ranker.ensemble import RankerEnsemble
from ranksrgan.ranker.opening import Opened


class RankerCatalog(ServedModels[Scorer]):
    """Rankers and quality models by the names under which they are served.

    Args:
        rankers: or ensembles of them, or quality models; each is offered under its key, whatever
            its own name was.
        models: what is loaded of a model repository; None for none.
        shipped: offered under names that stand for nothing else.

    Raises:
        InvalidInput: a name stands for a Ranker and for a model of the repository.
    """

    def __init__(
        self,
        rankers: Mapping[str, Opened | RankerEnsemble],
        models: LoadedModels[Opened] | None = None,
        shipped: Mapping[str, Opened] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            {name: ranker.named(name) for name, ranker in rankers.items()},
            models,
            {name: ranker.named(name) for name, ranker in shipped.items()},
            field="scorer",
        )

    def infos(self) -> list[ScorerInfo]:
        return [ranker.info for ranker in self.offered()]
