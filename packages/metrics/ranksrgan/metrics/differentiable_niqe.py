"""NIQE with a gradient.

It is NIQE of `ranksrgan.metrics.smooth_nss_features`, which leave two roundings out and say where
their gradient jumps. The score is a neighbour of NIQE, then, and not NIQE: within 0.04 on most
photographs, 0.2 away where rounding is the only texture of large areas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.image_gradient import image_gradient
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.mvg_distance import mvg_distance
from ranksrgan.metrics.niqe import NiqeScorer, checked_batches, refuse_references, too_flat
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.smooth_nss_features import smooth_nss_features


def differentiable_niqe(
    images: Tensor | Sequence[Tensor],
    border: int = 0,
    luma: Convention = "y",
    model: NiqeModel | None = None,
) -> Tensor:
    """NIQE without its roundings; gradients flow to ``images``, once.

    Args and errors as in `ranksrgan.metrics.niqe.niqe`.

    Returns:
        ``(N,)`` float64 on the device of the images. Each image is scored on its own.
    """
    model = model or NiqeModel.published()
    scores: list[Tensor] = []
    for batch in checked_batches(images, border, luma):
        for image in batch:
            cancellation.check()
            rows = smooth_nss_features(image[None], border, luma)[0]
            mean, covariance = model.mean.to(rows.device), model.covariance.to(rows.device)
            score = mvg_distance(rows[None], mean, covariance)[0]
            if bool(score.isnan()):
                raise too_flat(rows, position=len(scores))
            scores.append(score)
    return torch.stack(scores)


class DifferentiableNiqe(NiqeScorer):
    """`differentiable_niqe` as a `DifferentiableScorer`, ``niqe?gradient=true`` by name; arguments
    as of `NiqeScorer`."""

    @property
    def info(self) -> ScorerInfo:
        plain = super().info
        gradient = f"{'&' if '?' in plain.name else '?'}gradient=true"
        return replace(plain, name=plain.name + gradient, differentiable=True)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `differentiable_niqe`."""
        refuse_references(references)
        return differentiable_niqe(images, self._border, self._luma, self._model)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `DifferentiableScorer.gradient`.

        Raises:
            InvalidInput: uint8, and whatever `score` refuses.
        """
        return image_gradient(self.score, images, references)
