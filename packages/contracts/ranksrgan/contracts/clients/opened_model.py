"""What a client calls a model by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.upscaler import UpscalerInfo


@dataclass(frozen=True)
class OpenedModel:
    """A scorer or an upscaler of a server, as requests name it.

    A name stands for another model once the server has loaded one, and whoever goes on asking gets
    the new one, without a gap. What is built, trained or measured is not to come from two models:
    for that one is pinned. Of a model repository it is the version that was opened, which serves on
    beside a newer one; where it does not, or other weights have taken its place, calls fail.

    Attributes:
        name: with the version, if it is pinned to one, and the options, if there are any.
        parameters_hash: of the weights that it is pinned to; a server refuses to answer with
            others. Empty if it is not pinned.
    """

    name: str
    parameters_hash: str = ""

    @classmethod
    def of(cls, name: str, info: ScorerInfo | UpscalerInfo, *, pinned: bool) -> Self:
        """What was asked for by that name, and what the server said of it."""
        if not pinned:
            return cls(name)
        model, mark, options = name.partition("?")
        if info.model_version and ":" not in model:
            model = f"{model}:{info.model_version}"
        return cls(f"{model}{mark}{options}", info.parameters_hash)
