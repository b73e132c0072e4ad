"""The generators behind one service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import Tensor

from ranksrgan.contracts.joining import Joining, joining_of
from ranksrgan.contracts.serving.loaded_models import LoadedModels
from ranksrgan.contracts.serving.served_models import ServedModels
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


class UpscalerCatalog(ServedModels[Upscaler]):
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
        super().__init__(
            {name: _named(upscaler, name) for name, upscaler in upscalers.items()},
            models,
            {name: upscaler.named(name) for name, upscaler in shipped.items()},
            field="model",
        )

    def infos(self) -> list[UpscalerInfo]:
        return [upscaler.info for upscaler in self.offered()]


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
