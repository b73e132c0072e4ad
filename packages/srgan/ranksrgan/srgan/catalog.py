"""The generators behind one service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.joining import Joining, joining_of
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo


class UpscalerCatalog:
    """Upscalers by the names that clients use.

    Args:
        upscalers: by name. What each calls itself (a path on the server, say) stays private.
    """

    def __init__(self, upscalers: Mapping[str, Upscaler]) -> None:
        self._upscalers = {name: _Renamed(upscaler, name) for name, upscaler in upscalers.items()}

    def infos(self) -> list[UpscalerInfo]:
        return [upscaler.info for upscaler in self._upscalers.values()]

    def open(self, name: str) -> Upscaler:
        """The upscaler of that name.

        Raises:
            UnknownName: there is none; lists those that there are.
        """
        if name not in self._upscalers:
            raise UnknownName(
                f"there is no model {name!r}: it is one of {', '.join(self._upscalers)}", field=name
            )
        return self._upscalers[name]


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
