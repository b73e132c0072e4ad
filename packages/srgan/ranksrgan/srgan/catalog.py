"""The generators behind one service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.joining import Joining, joining_of
from ranksrgan.contracts.serving.loaded_models import LoadedModels
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


class UpscalerCatalog:
    """Upscalers by the names that clients use.

    Args:
        upscalers: by name. What each calls itself (a path on the server, say) stays private.
        models: what is loaded of a model repository; None for none.
        shipped: offered under names that stand for nothing else.

    Raises:
        InvalidInput: a name stands for an upscaler and for a model of the repository.
    """

    def __init__(
        self,
        upscalers: Mapping[str, Upscaler],
        models: LoadedModels[GeneratorUpscaler] | None = None,
        shipped: Mapping[str, GeneratorUpscaler] = MappingProxyType({}),
    ) -> None:
        self._upscalers = {name: _named(upscaler, name) for name, upscaler in upscalers.items()}
        self._shipped = {name: upscaler.named(name) for name, upscaler in shipped.items()}
        self._models = models
        for name in self._upscalers:
            if models is not None and models.get(name) is not None:
                raise InvalidInput(
                    f"{name} is a model of the repository too; give one another name", field=name
                )

    def infos(self) -> list[UpscalerInfo]:
        loaded = [] if self._models is None else self._models.serving()
        infos = [upscaler.info for upscaler in [*self._upscalers.values(), *loaded]]
        taken = {info.name for info in infos}
        return infos + [one.info for name, one in self._shipped.items() if name not in taken]

    def open(self, name: str) -> Upscaler:
        """The upscaler of that name; it stays what it is for as long as it is held.

        Raises:
            UnknownName: there is none; lists those that there are.
        """
        found = self._upscalers.get(name)
        if found is None and self._models is not None:
            found = self._models.get(name)
        if found is None:
            found = self._shipped.get(name)
        if found is None:
            there = ", ".join(info.name for info in self.infos())
            raise UnknownName(
                f"there is no model {name[:120]!r}; there is {there or 'none'}", field="model"
            )
        return found


def _named(upscaler: Upscaler, name: str) -> Upscaler:
    if isinstance(upscaler, GeneratorUpscaler):
        return upscaler.named(name)
    return _Renamed(upscaler, name)


class _Renamed:
    def __init__(self, upscaler: Upscaler, name: str) -> None:
        self._upscaler = upscaler
        self._info = replace(upscaler.info, name=name)

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    @property
    def joining(self) -> Joining:
        return joining_of(self._upscaler)

    def upscale(self, images: Tensor) -> Tensor:
        return self._upscaler.upscale(images)
