"""The generator's and the discriminator's losses.

    L_G = w_pix L_pix + w_per L_per + w_adv L_adv + w_rank L_rank       (RankSRGAN, section 3.3)

Every loss is a mean, over the batch too, so that a weight means the same at any batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.metrics import random_views
from ranksrgan.srgan.features import FeatureNetwork

Criterion = Literal["l1", "mse"]

#: What compares two tensors of one shape; each is a mean over all elements.
CRITERIA: dict[Criterion, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss}


def pixel_loss(sr: Tensor, hr: Tensor, criterion: Criterion) -> Tensor:
    """Mean absolute or squared difference of ``(N, 3, H, W)`` images."""
    return CRITERIA[criterion](sr, hr)


def perceptual_loss(
    sr: Tensor, hr: Tensor, network: FeatureNetwork, criterion: Criterion
) -> Tensor:
    """The difference of deep features, summed over the network's layers; HR is a constant."""
    with torch.no_grad():
        wanted = network.extract(hr)
    compare = CRITERIA[criterion]
    found = network.extract(sr)
    return torch.stack([compare(found[name].float(), wanted[name].float()) for name in found]).sum()


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """What the generator pays for being recognised: mean of -log D(G(x)), D a sigmoid."""
    return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Mean of -log D(y) plus mean of -log(1 - D(G(x))): a sum of the two, not their average."""
    return F.binary_cross_entropy_with_logits(
        real_logits, torch.ones_like(real_logits)
    ) + F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))


class RankLoss:
    """The rank-content loss: sum over Rankers k of w_k * mean over images i of sigmoid(s_k R_k(i)).

    s_k is +1 where a lower score is better, as for a Ranker of NIQE, and -1 where a higher one is,
    so that minimising always improves. RankSRGAN, eq. 9. The published code *sums* over its batch
    of 8 with weight 0.03, which is weight 0.24 on this mean.

    A Ranker sees what a viewer would see, the image clamped to [0, 1]: values outside get no
    gradient from it, since moving them changes nothing that is shown. A Ranker may live in this
    process or in a service; it is asked in float32 and never changed.

    Args:
        rankers: each with its weight; the weights need not sum to 1.
        jitter: every Ranker sees each image through one random window that is smaller by so many
            pixels, see `random_views`.

    Raises:
        InvalidConfig: no Ranker, one without gradients, one that wants references, or a weight
            that is not positive.
    """

    def __init__(
        self, rankers: Sequence[tuple[DifferentiableScorer, float]], jitter: int = 0
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

    def __call__(self, sr: Tensor, seed: int = 0) -> Tensor:
        """The loss of ``(N, 3, H, W)`` generated images, a scalar with a gradient to them.

        ``seed`` decides the windows, if there is a jitter.
        """
        random = torch.Generator().manual_seed(seed)
        with torch.autocast(sr.device.type, enabled=False):
            shown = random_views(sr.float().clamp(0, 1), self.jitter, random)
            total = sr.new_zeros((), dtype=torch.float32)
            for ranker, weight in self.rankers:
                sign = -1.0 if ranker.info.higher_is_better else 1.0
                ranked = torch.sigmoid(sign * ranker.score(shown)).mean()
                total = total + weight * ranked.float()
        return total
