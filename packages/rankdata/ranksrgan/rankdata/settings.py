"""What an operator sets of a rank data service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ranksrgan.contracts.data_root import DataRoot, check_id
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.settings import ServerSettings, require_weights
from ranksrgan.rankdata.building.limits import BuildLimits
from ranksrgan.rankdata.level_specs import BICUBIC, HR


class RankDataServerSettings(ServerSettings):
    """See `ServerSettings` too.

    Attributes:
        streams: readers at a time: a few trainings, each of a few processes.
        data_root: where datasets are read and built; its folders are made when they are needed.
        upscalers: specs for `open_upscaler` by the names that clients may use as levels.
        builds: datasets built at a time; more wait.
        build_limits: what a client's build may ask for.
    """

    streams: int = Field(64, ge=0)
    data_root: Path
    upscalers: dict[str, str] = {}  # noqa: RUF012 - pydantic copies defaults
    builds: int = Field(1, ge=1)
    build_limits: BuildLimits = BuildLimits()

    def check(self) -> None:
        """See `ServerSettings.check`.

        Raises:
            InvalidInput: the data root is no folder that can be written to, or an upscaler has an
                impossible name.
        """
        super().check()
        DataRoot(self.data_root).require_writable()
        for name in self.upscalers:
            if name in (HR, BICUBIC):
                raise InvalidInput(
                    f"upscaler: {name} is a level of every dataset; choose another name",
                    field="upscaler",
                )
            check_id(name, "upscaler")
        require_weights(self.upscalers, "upscalers")
