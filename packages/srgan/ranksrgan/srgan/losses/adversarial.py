"""Adversarial losses of generator and discriminator.

With D(x) the discriminator's output without a sigmoid, y an original, g = G(x) a generated image,
s the softplus (s(-a) = -log sigmoid(a)), and E the mean over images, and over positions where the
discriminator gives a map:

    criterion      generator                            discriminator
    vanilla        E s(-D(g))                           E s(-D(y)) + E s(D(g))
    relativistic   (E s(-(D(g) - E D(y)))               (E s(-(D(y) - E D(g)))
                    + E s(D(y) - E D(g))) / 2            + E s(D(g) - E D(y))) / 2
    lsgan          E (D(g) - 1)^2 / 2                   E (D(y) - 1)^2 / 2 + E D(g)^2 / 2
    hinge          -E D(g)                              E max(0, 1 - D(y)) + E max(0, 1 + D(g))

Sources: Goodfellow et al. 2014 with the generator's loss that does not saturate; the relativistic
average of Jolicoeur-Martineau 2019, halved as in the published code of ESRGAN and RankSRGAN
(``ragan``); Mao et al. 2017, equation 9; Lim and Ye 2017.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput

AdversarialCriterion = Literal["vanilla", "relativistic", "lsgan", "hinge"]


def is_relativistic(criterion: AdversarialCriterion) -> bool:
    """Whether the generator's loss compares generated images with originals."""
    return criterion == "relativistic"


def adversarial_loss(
    fake: Tensor, real: Tensor | None = None, criterion: AdversarialCriterion = "vanilla"
) -> Tensor:
    """What the generator pays for being recognised.

    Args:
        fake: the discriminator's outputs for generated images, ``(N,)``, ``(N, 1)`` or maps
            ``(N, 1, h, w)``.
        real: those for originals, if the criterion is relativistic; constants here.
        criterion: see the module's head.

    Raises:
        InvalidInput: a relativistic loss without ``real``.
    """
    if criterion == "vanilla":
        return _taken_for_real(fake)
    if criterion == "lsgan":
        return (fake - 1).square().mean() / 2
    if criterion == "hinge":
        return -fake.mean()
    if real is None:
        raise InvalidInput("a relativistic loss compares with originals: give real", field="real")
    real = real.detach()
    return (_taken_for_real(fake - real.mean()) + _taken_for_fake(real - fake.mean())) / 2


def discriminator_loss(
    real: Tensor, fake: Tensor, criterion: AdversarialCriterion = "vanilla"
) -> Tensor:
    """What the discriminator pays for mistaking originals or generated images.

    Args:
        real: its outputs for originals, ``(N,)``, ``(N, 1)`` or maps ``(N, 1, h, w)``.
        fake: those for generated images, which are constants to it.
        criterion: see the module's head.
    """
    if criterion == "vanilla":
        return _taken_for_real(real) + _taken_for_fake(fake)
    if criterion == "lsgan":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if criterion == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return (_taken_for_real(real - fake.mean()) + _taken_for_fake(fake - real.mean())) / 2


def _taken_for_real(logits: Tensor) -> Tensor:
    """Mean of -log sigmoid: 0 if all are surely real."""
    return F.softplus(-logits).mean()


def _taken_for_fake(logits: Tensor) -> Tensor:
    """Mean of -log(1 - sigmoid): 0 if all are surely generated."""
    return F.softplus(logits).mean()
