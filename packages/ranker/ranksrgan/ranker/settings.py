"""What an operator sets of a Ranker service."""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.serving.settings import ModelServerSettings, require_weights
from ranksrgan.ranker.opening import check_options
from ranksrgan.ranker.shipped import SHIPPED
from ranksrgan.ranker.training_limits import TrainingLimits


class RankerServerSettings(ModelServerSettings):
    """See `ServerSettings` too.

    Attributes:
        rankers: weights, or names of shipped Rankers, by the name that clients use, with options
            as in a scorer's spec (``ranker.safetensors?head=ma``). Without any here and in a
            repository the shipped one is served.
        training_limits: what a client's training may ask for.
    """

    rankers: dict[str, Path] = {}  # noqa: RUF012 - pydantic copies defaults
    training_limits: TrainingLimits = TrainingLimits()

    def check(self) -> None:
        """See `ServerSettings.check`.

        Raises:
            InvalidInput: a Ranker with an unknown option.
            MissingAsset: see `ShippedWeights.path`.
        """
        super().check()
        if not self.rankers and self.model_repository.root is None:
            SHIPPED.paths()
        require_weights(SHIPPED.files(self.rankers), "rankers")
        for spec in map(str, self.rankers.values()):
            path, _, options = spec.partition("?")
            check_options(parse_options(options, spec), Path(path))
