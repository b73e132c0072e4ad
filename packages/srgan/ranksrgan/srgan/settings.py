"""What an operator sets of a generators' service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.serving.settings import ModelServerSettings, require_weights
from ranksrgan.contracts.serving.upscale_order import StreamLimits
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.training_limits import TrainingLimits
from ranksrgan.srgan.upscaling.opening import check_options


class SrganServerSettings(ModelServerSettings):
    """See `ServerSettings` too.

    Attributes:
        models: weights, or names of shipped generators, by the name that clients use, with options
            as in an upscaler's spec (``generator.safetensors?device=cuda&precision=auto``). Without
            any here and in a repository the shipped ones are served.
        rankers: specs for `open_scorer` (weights, or services at their addresses) by the names by
            which clients may use them as a loss. A training opens them when it begins.
        training_limits: what a client's training may ask for.
        upscale_stream: what an image may be that ``UpscaleStream`` brings.
    """

    workers: int = Field(1, ge=1)
    models: dict[str, Path] = {}  # noqa: RUF012 - pydantic copies defaults
    rankers: dict[str, str] = {}  # noqa: RUF012
    training_limits: TrainingLimits = TrainingLimits()
    upscale_stream: StreamLimits = StreamLimits()

    def check(self) -> None:
        """See `ServerSettings.check`.

        Raises:
            InvalidInput: a Ranker without a data root or with an impossible name, or a generator
                with an unknown option.
            InvalidConfig: a spool that is smaller than the files that streams may bring.
            MissingAsset: see `ShippedWeights.path`.
        """
        super().check()
        if self.spool_mib * 2**20 < self.upscale_stream.max_bytes:
            raise InvalidConfig(
                f"spool_mib: {self.spool_mib} MiB do not hold one file of the "
                f"{self.upscale_stream.max_bytes} bytes that upscale_stream.max_bytes allows",
                field="spool_mib",
            )
        if self.rankers and self.data_root is None:
            raise InvalidInput(
                "a Ranker is for trainings, and they are in a data root: --data-root DIR",
                field="rankers",
            )
        if not self.models and self.model_repository.root is None:
            SHIPPED.paths()
        require_weights(SHIPPED.files(self.models), "models")
        for spec in map(str, self.models.values()):
            check_options(parse_options(spec.partition("?")[2], spec))
        for name in self.rankers:
            check_id(name, "ranker")
        require_weights(self.rankers, "rankers")
