"""Any scorer with a gradient as a loss: LPIPS, DISTS, differentiable NIQE, one from elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig, UndefinedScore
from ranksrgan.contracts.scorer import DifferentiableScorer


class ScorerLoss:
    """The mean score of generated images, its sign such that minimising improves it.

    HR images are the references where the scorer wants some. It sees the images clamped to [0, 1],
    as a viewer would: values outside get no gradient from it. An image for which the metric has no
    value (NIQE of a clear sky) costs nothing.

    Args:
        scorer: in this process or in a service.

    Raises:
        InvalidConfig: a scorer without gradients.
    """

    def __init__(self, scorer: DifferentiableScorer) -> None:
        if not scorer.info.differentiable:
            raise InvalidConfig(
                f"{scorer.info.name} cannot be a loss: it has no gradient", field="losses.scorers"
            )
        self.scorer = scorer
        self._sign = -1.0 if scorer.info.higher_is_better else 1.0
        self._needs_reference = scorer.info.needs_reference

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss of ``(N, 3, H, W)`` generated images: a float32 scalar, with a gradient to them.

        ``hr`` are the originals in [0, 1], constants here.
        """
        # A metric is computed in the precision that it states, whatever the training around it.
        with torch.autocast(sr.device.type, enabled=False):
            shown = sr.float().clamp(0, 1)
            references = hr.detach().float() if self._needs_reference else None
            scores = self._scores(shown, references)
            return self._sign * scores.sum().float() / len(sr)

    def _scores(self, images: Tensor, references: Tensor | None) -> Tensor:
        """The scores of the images that have one; for the others the batch is taken apart."""
        try:
            return self.scorer.score(images, references)
        except UndefinedScore:
            if len(images) == 1:
                # Zero, and still a part of the graph.
                return 0 * images.sum().reshape(1)
        return torch.cat(
            [
                self._scores(
                    images[i : i + 1], None if references is None else references[i : i + 1]
                )
                for i in range(len(images))
            ]
        )
