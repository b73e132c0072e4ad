"""The models that one service offers, by the names under which clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.upscaler import Upscaler

M = TypeVar("M", bound=Scorer | Upscaler)
M_co = TypeVar("M_co", bound=Scorer | Upscaler, covariant=True)


class Loaded(Protocol[M_co]):
    """What serves of a repository; see `LoadedModels`."""

    def get(self, name: str) -> M_co | None: ...

    def serving(self) -> Sequence[M_co]: ...


class ServedModels(Generic[M]):
    """Models that the operator has named, those of a repository, and what is shipped.

    Args:
        given: by name; each calls itself so, too.
        loaded: what is loaded of a model repository; None for none.
        shipped: as ``given``, but offered under names that stand for nothing else.
        field: of a request that names a model; messages call it so.

    Raises:
        InvalidInput: a name is given, and stands for a model of the repository.
    """

    def __init__(
        self,
        given: Mapping[str, M],
        loaded: Loaded[M] | None,
        shipped: Mapping[str, M],
        *,
        field: str,
    ) -> None:
        self._given = given
        self._loaded = loaded
        self._shipped = shipped
        self._field = field
        for name in given:
            if loaded is not None and loaded.get(name) is not None:
                raise InvalidInput(
                    f"{name} is a model of the repository too; give one another name", field=name
                )

    def offered(self) -> list[M]:
        """All models, each once."""
        loaded = () if self._loaded is None else self._loaded.serving()
        models = [*self._given.values(), *loaded]
        taken = {model.info.name for model in models}
        return models + [model for name, model in self._shipped.items() if name not in taken]

    def open(self, name: str) -> M:
        """The model of that name; it stays what it is for as long as it is held.

        Raises:
            UnknownName: there is none; lists those that there are.
        """
        found = self._given.get(name)
        if found is None and self._loaded is not None:
            found = self._loaded.get(name)
        if found is None:
            found = self._shipped.get(name)
        if found is None:
            there = ", ".join(model.info.name for model in self.offered())
            raise UnknownName(
                f"there is no {self._field} {name[:120]!r}; there is {there or 'none'}",
                field=self._field,
            )
        return found
