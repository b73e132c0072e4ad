"""Which of two images people prefer, said by their scores: RADN's contrastive pretraining."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Preference(nn.Module):
    """The probability that one image is preferred to another, from the scores of both.

    The logit is ``a - b + f(a, b) - f(b, a)`` with f two fully connected layers. The paper names
    the layers alone; that the logit changes its sign with the order of the two, and starts as
    Bradley and Terry's, is our choice: without it the layers could learn that less is better.

    Args:
        hidden: width between the two layers.
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(2, hidden)
        self.second = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits of a being preferred, in the shape of the scores ``a`` and ``b``."""
        logits: Tensor = a - b + self._of(a, b) - self._of(b, a)
        return logits

    def loss(self, scores: Tensor, values: Tensor, scale: float) -> Tensor:
        """Mean cross-entropy of all pairs of a batch with the probabilities that their opinions,
        as Elo ratings, give.

        Args:
            scores: ``(N,)``.
            values: ``(N,)``.
            scale: gap of values at which the odds are e to one.
        """
        first, second = torch.triu_indices(len(scores), len(scores), 1, device=scores.device)
        wanted = torch.sigmoid((values[first] - values[second]) / scale)
        logits = self(scores[first], scores[second])
        return F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype))

    def _of(self, a: Tensor, b: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.first(torch.stack([a, b], dim=-1)), 0.2)
        found: Tensor = self.second(hidden).squeeze(-1)
        return found
