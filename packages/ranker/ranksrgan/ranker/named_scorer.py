"""What every scorer of this package has: facts, and a name that a service can replace."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Self

from ranksrgan.contracts.scorer import ScorerInfo


class NamedScorer:
    """The half of a `Scorer` that does not score."""

    _info: ScorerInfo

    @property
    def info(self) -> ScorerInfo:
        return self._info

    def named(self, name: str, model_version: str = "") -> Self:
        """The same scorer, weights shared, under another name and as that version of a model."""
        twin = copy(self)
        twin._info = replace(self._info, name=name, model_version=model_version)
        return twin
