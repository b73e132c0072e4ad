"""The Rankers behind one service."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.serving.loaded_models import LoadedModels
from ranksrgan.ranker.ensemble import RankerEnsemble
from ranksrgan.ranker.opening import Opened


class RankerCatalog:
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
        self._rankers = {name: ranker.named(name) for name, ranker in rankers.items()}
        self._shipped = {name: ranker.named(name) for name, ranker in shipped.items()}
        self._models = models
        for name in self._rankers:
            if models is not None and models.get(name) is not None:
                raise InvalidInput(
                    f"{name} is a model of the repository too; give one another name",
                    field="ranker",
                )

    def infos(self) -> list[ScorerInfo]:
        loaded = [] if self._models is None else self._models.serving()
        infos = [ranker.info for ranker in [*self._rankers.values(), *loaded]]
        taken = {info.name for info in infos}
        return infos + [one.info for name, one in self._shipped.items() if name not in taken]

    def open(self, name: str) -> Scorer:
        """The Ranker of that name; it stays what it is for as long as it is held.

        Raises:
            UnknownName: there is none; the message lists those there are.
        """
        found: Scorer | None = self._rankers.get(name)
        if found is None and self._models is not None:
            found = self._models.get(name)
        if found is None:
            found = self._shipped.get(name)
        if found is None:
            there = ", ".join(info.name for info in self.infos())
            raise UnknownName(
                f"no ranker {name!r} here; there is {there or 'none'}", field="scorer"
            )
        return found
