"""What an operator sets of a generators' service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.settings import ModelServerSettings, require_weights


class SrganServerSettings(ModelServerSettings):
    """See `ServerSettings` too.

    Attributes:
        models: weights by the name that clients use.
        rankers: specs for `open_scorer` (weights, or services at their addresses) by the names by
            which clients may use them as a loss. A training opens them when it begins.
    """

    workers: int = Field(1, ge=1)
    models: dict[str, Path] = {}  # noqa: RUF012 - pydantic copies defaults
    rankers: dict[str, str] = {}  # noqa: RUF012

    def check(self) -> None:
        """See `ServerSettings.check`.

        Raises:
            InvalidInput: a Ranker without a data root.
        """
        super().check()
        if self.rankers and self.data_root is None:
            raise InvalidInput(
                "a Ranker is for trainings, and they are in a data root: --data-root DIR",
                field="rankers",
            )
        self.require_something(self.models, "--model", "generators")
        require_weights(self.models, "models")
        require_weights(self.rankers, "rankers")
