"""What an operator sets of a Ranker service."""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts.serving.settings import ModelServerSettings, require_weights


class RankerServerSettings(ModelServerSettings):
    """See `ServerSettings` too.

    Attributes:
        rankers: weights by the name that clients use, with options as in a scorer's spec
            (``ranker.safetensors?head=ma``).
    """

    rankers: dict[str, Path] = {}  # noqa: RUF012 - pydantic copies defaults

    def check(self) -> None:
        """See `ServerSettings.check`."""
        super().check()
        self.require_something(self.rankers, "--ranker", "rankers")
        require_weights(self.rankers, "rankers")
