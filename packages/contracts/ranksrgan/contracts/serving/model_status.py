"""What a server says of the models in its repository."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.upscaler import UpscalerInfo


class ModelState(StrEnum):
    """What a version is doing; see ``ModelState`` in ``model.proto``."""

    LOADING = "loading"
    READY = "ready"
    UNLOADED = "unloaded"
    FAILED = "failed"


@dataclass(frozen=True)
class VersionStatus:
    """Facts about a version, as ``ModelVersion`` in ``model.proto`` tells them.

    Attributes:
        version: the number of its folder.
        state: what it is doing.
        reason: why the last attempt to load it failed. A version that is ready and has a reason
            serves what was loaded before.
        info: of the model; None unless it is ready, as what follows is empty.
        architecture: of the network.
        file_hash: sha256 in hex of the file.
        size: bytes of the file.
        loaded_at: Unix time in seconds.
    """

    version: int
    state: ModelState
    reason: str = ""
    info: UpscalerInfo | ScorerInfo | None = None
    architecture: str = ""
    file_hash: str = ""
    size: int = 0
    loaded_at: float = 0.0


@dataclass(frozen=True)
class ModelStatus:
    """Facts about a model: its versions from the lowest on, and what is wrong with all of it."""

    name: str
    versions: tuple[VersionStatus, ...]
    reason: str = ""


class ManagedModels(Protocol):
    """Models that can be loaded and unloaded while they serve; see `LoadedModels`."""

    def get(self, name: str) -> object | None: ...

    def statuses(self) -> list[ModelStatus]: ...

    def load(self, ref: str) -> ModelStatus: ...

    def reload(self, ref: str) -> ModelStatus: ...

    def unload(self, ref: str) -> ModelStatus: ...
