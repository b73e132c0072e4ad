"""The rank-content loss, RankSRGAN's own (section 3.3, equation 9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ranksrgan.contracts.clients.scorer import RemoteScorer
from ranksrgan.contracts.device import mixed
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.metrics import random_views

RankFunction = Literal["sigmoid", "identity", "exp"]

#: What a score goes through; each grows with it.
FUNCTIONS: dict[RankFunction, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "identity": lambda score: score,
    "exp": torch.exp,
}

#: What becomes of the images of a batch.
Reduction = Literal["mean", "sum"]

# The sigmoid has less than a twelfth of its greatest slope where it is larger.
_FLAT = 0.98


class RankLoss:
    """The rank-content loss: sum over Rankers k of w_k * mean over images i of f(s_k (R_k(i) - b)).

    f is the sigmoid, or the identity or the exponential function of the paper's ablation. s_k is +1
    where a lower score is better, as for a Ranker of NIQE, and -1 where a higher one is, so that
    minimising always improves. The published code *sums* over its batch of 8 with weight 0.03,
    which is weight 0.24 on this mean; its b (``R_bias``) is 0.

    A Ranker sees what a viewer would see, the image clamped to [0, 1]: values outside get no
    gradient from it, since moving them changes nothing that is shown. A Ranker may live in this
    process or in a service; it is given float32 and never changed.

    Args:
        rankers: each with its weight; the weights need not sum to 1.
        jitter: every Ranker sees each image through one random window that is smaller by so many
            pixels, see `random_views`.
        function: f.
        bias: b, in units of the Rankers' scores.
        reduction: ``sum`` over the images instead of their mean, as published. A weight then means
            another thing at another batch size.

    Raises:
        InvalidConfig: no Ranker, one without gradients, one that wants references, or a weight
            that is not positive.
    """

    def __init__(
        self,
        rankers: Sequence[tuple[DifferentiableScorer, float]],
        jitter: int = 0,
        *,
        function: RankFunction = "sigmoid",
        bias: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        if not rankers:
            raise InvalidConfig(
                "the rank loss needs at least one Ranker", field="losses.rank.rankers"
            )
        for ranker, weight in rankers:
            info = ranker.info
            if not info.differentiable or info.needs_reference:
                why = "wants references" if info.needs_reference else "has no gradient"
                raise InvalidConfig(
                    f"{info.name} cannot be a rank loss: it {why}", field="losses.rank.rankers"
                )
            if not weight > 0:
                raise InvalidConfig(
                    f"the weight of {info.name} is {weight}; it has to be positive",
                    field="losses.rank.rankers",
                )
        self.rankers = tuple(rankers)
        self.jitter = jitter
        self._function = FUNCTIONS[function]
        self._bias = bias
        self._summed = reduction == "sum"

    def __call__(self, sr: Tensor, seed: int = 0, *, bfloat16: bool = False) -> Tensor:
        """The loss of ``(N, 3, H, W)`` generated images, a scalar with a gradient to them.

        Args:
            sr: the images.
            seed: decides the windows, if there is a jitter.
            bfloat16: the convolutions of Rankers in this process run in it, in half the time. Of
                trained Rankers the gradient then has a cosine of 0.99 with that of float32.
        """
        return self.begin(sr, seed, bfloat16=bfloat16)()

    def steeper_bias(self, loss: float) -> float | None:
        """A bias among the Rankers' scores, if the sigmoid is flat where they are bad.

        Args:
            loss: the mean of this loss over some batches.

        Returns:
            The b for which the sigmoid of the mean score would be a half. None where the sigmoid is
            steep, or flat because the scores are good; where f is another function or the images
            are summed; and of Rankers of both directions, which have no such b in common.
        """
        directions = {ranker.info.higher_is_better for ranker, _ in self.rankers}
        mean = loss / sum(weight for _, weight in self.rankers)
        steep = self._function is not torch.sigmoid or self._summed or not mean > _FLAT
        if steep or len(directions) > 1:
            return None
        mean = min(mean, 1 - 1e-6)
        beyond = math.log(mean / (1 - mean))
        return self._bias + (-beyond if True in directions else beyond)

    def begin(self, sr: Tensor, seed: int = 0, *, bfloat16: bool = False) -> Callable[[], Tensor]:
        """The loss in two halves, arguments as of `__call__`: what is returned gives it.

        What a GPU does in between in a recorded step does not wait for Rankers in services; see
        `RemoteScorer.begin`.
        """
        random = torch.Generator().manual_seed(seed)
        with torch.autocast(sr.device.type, enabled=False):
            shown = random_views(sr.float().clamp(0, 1), self.jitter, random)
            asked = [
                ranker.begin(shown)
                if isinstance(ranker, RemoteScorer)
                else partial(ranker.score, shown)
                for ranker, _ in self.rankers
            ]

        def finish() -> Tensor:
            with torch.autocast(sr.device.type, enabled=False):
                total = sr.new_zeros((), dtype=torch.float32)
                for (ranker, weight), score in zip(self.rankers, asked, strict=True):
                    sign = -1.0 if ranker.info.higher_is_better else 1.0
                    with mixed(bfloat16, sr.device):
                        scores = score()
                    ranked = self._function(sign * (scores - self._bias))
                    loss = ranked.sum() if self._summed else ranked.mean()
                    total = total + weight * loss.float()
            return total

        return finish
