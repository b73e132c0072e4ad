"""Criteria contrast: losses of losses, which draw some criteria together and others apart.

With P, P1, P2 the pixel loss of the fused, the first and the second view (`Views`), F the
perceptual loss of the fused view, G, G1, G2 the adversarial ones of the three, each times its
weight in the contrast, and t the temperature:

    ratio        (G + F) / (P1 + epsilon)                   "R"
    alignment    (P2 - F)^2                                 "an" and "al"
    negative     log ((exp(-t P2) + exp(-t G1)) / 2)        "an"
    uniformity   -log sum over n of G, G1, G2 of exp(-t (P + n)^t)     "al", after Wang and Isola

These are reconstructed: Shi et al. ("Criteria Comparative Learning", TCSVT 2022) published the idea
and the network, not this code. The forms were read from compiled variants of the authors' sister
project RWSR-EDL, named R, an and al there; that they are the paper's is an inference, and none of
its tables is reproduced. Weights are applied before the contrast, as there: with w_pix 0.01, w_per
1 and w_adv 0.005 the components are about 0.001, 1 and 0.004, and the terms mean another thing with
others.

Epsilon is ours. Without it the ratio's gradient to P1, -(G + F) / P1^2, has no bound, and at usual
values (P1 0.003) is the largest of all. Nor has P1 itself a bound: the ratio wants something beside
it that holds the first view, as the losses of recipe ``cria_edl`` do through the fused one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ranksrgan.srgan.generators.generator import View

ContrastTerm = Literal["ratio", "alignment", "negative", "uniformity"]

#: With this, components up to 100 or so have a uniformity that float32 holds; usual ones are 1 at
#: most.
MAX_TEMPERATURE = 16.0

#: Which views each term wants the pixel loss of, and which the adversarial loss.
NEEDS: dict[ContrastTerm, tuple[tuple[View, ...], tuple[View, ...]]] = {
    "ratio": (("first",), ("fused",)),
    "alignment": (("second",), ()),
    "negative": (("second",), ("first",)),
    "uniformity": (("fused",), ("fused", "first", "second")),
}


@dataclass(frozen=True)
class Criteria:
    """The components of one batch, each a scalar times its weight in the contrast.

    Attributes:
        pixel: by view.
        perceptual: of the fused view.
        adversarial: by view.
    """

    pixel: Mapping[View, Tensor]
    perceptual: Tensor
    adversarial: Mapping[View, Tensor]


def contrast_loss(
    term: ContrastTerm, criteria: Criteria, temperature: float = 2.0, epsilon: float = 1e-3
) -> Tensor:
    """One of the terms of the module's head, a scalar.

    Args:
        term: which.
        criteria: those that it needs, see `NEEDS`; none is negative.
        temperature: t, from 1, below which the gradient at 0 has no bound, to `MAX_TEMPERATURE`.
        epsilon: keeps the ratio finite where P1 is 0.
    """
    pixel, perceptual, adversarial = criteria.pixel, criteria.perceptual, criteria.adversarial
    if term == "ratio":
        return (adversarial["fused"] + perceptual) / (pixel["first"] + epsilon)
    if term == "alignment":
        return (pixel["second"] - perceptual).square()
    if term == "negative":
        compared = torch.stack([pixel["second"], adversarial["first"]])
        return torch.logsumexp(-temperature * compared, 0) - math.log(2)
    sums = pixel["fused"] + torch.stack([adversarial[view] for view in NEEDS[term][1]])
    return -torch.logsumexp(-temperature * sums**temperature, 0)
