"""The generator's and the discriminator's losses.

    L_G = w_pix L_pix + w_per L_per + w_adv L_adv + w_rank L_rank + sum_s w_s L_s + sum_c w_c L_c

(RankSRGAN, section 3.3; s stands for further scorers, c for the terms of the criteria contrast.
Where a generator shows several views of an image, the pixel and the adversarial loss may each look
at another; the perceptual loss, Rankers and scorers look at the fused one.) Every loss of images is
a mean, over the batch too, so that a weight means the same at any batch size.
"""

from ranksrgan.srgan.losses.adversarial import (
    AdversarialCriterion,
    adversarial_loss,
    discriminator_loss,
    is_relativistic,
)
from ranksrgan.srgan.losses.contrast import NEEDS, ContrastTerm, Criteria, contrast_loss
from ranksrgan.srgan.losses.perceptual import perceptual_loss
from ranksrgan.srgan.losses.pixel import Criterion, pixel_loss
from ranksrgan.srgan.losses.rank import RankFunction, RankLoss
from ranksrgan.srgan.losses.scorer import ScorerLoss

__all__ = [
    "NEEDS",
    "AdversarialCriterion",
    "ContrastTerm",
    "Criteria",
    "Criterion",
    "RankFunction",
    "RankLoss",
    "ScorerLoss",
    "adversarial_loss",
    "contrast_loss",
    "discriminator_loss",
    "is_relativistic",
    "perceptual_loss",
    "pixel_loss",
]
