"""What the two quality models that are no networks, `fusion` and `egb`, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ranksrgan.contracts.checkpoint import hash_tensors, save_weights
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.ranker.named_scorer import NamedScorer
from ranksrgan.ranker.quality.boosting import Boosted, arrays_of, mean_prediction


class BoostedScorer(NamedScorer, ABC):
    """The mean of boosted regressors of an image's features; the higher the better.

    Args:
        architecture: of its file.
        members: the regressors.
        options: of its file.
        tensors: that its file has beside the regressors'.
        name, version, needs_reference, min_side: for `ScorerInfo`.
    """

    def __init__(
        self,
        architecture: str,
        members: Sequence[Boosted],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        *,
        name: str,
        version: str,
        needs_reference: bool,
        min_side: int,
    ) -> None:
        self._architecture = architecture
        self._members = tuple(members)
        self._options = dict(options)
        self._tensors = {**tensors, **arrays_of(self._members)}
        self._info = ScorerInfo(
            name=name,
            version=version,
            higher_is_better=True,
            needs_reference=needs_reference,
            differentiable=False,
            min_side=min_side,
            parameters_hash=hash_tensors(self._tensors),
        )

    @abstractmethod
    def _features(self, images: Tensor, references: Tensor | None) -> Tensor:
        """``(N, inputs)`` float64 on the CPU, without a graph."""

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score`; raises what `_features` does."""
        return mean_prediction(self._members, self._features(images, references)).to(images.device)

    def save(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Write ``.safetensors`` with all that it needs, whole or not at all.

        Raises:
            DiskFull: there is no room for it.
        """
        save_weights(
            path,
            self._tensors,
            kind="ranker",
            architecture=self._architecture,
            options=self._options,
            about=about,
        )
