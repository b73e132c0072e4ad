"""The perceptual loss: a difference of deep features (Johnson et al. 2016; SRGAN, 2.2.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.losses.pixel import CRITERIA, Criterion
from ranksrgan.srgan.training.features import FeatureNetwork


def perceptual_loss(
    sr: Tensor,
    hr: Tensor,
    network: FeatureNetwork,
    criterion: Criterion,
    layers: Mapping[str, float] | None = None,
) -> Tensor:
    """Sum over layers l of w_l times the mean difference of the features of SR and HR at l.

    Args:
        sr: ``(N, 3, H, W)`` generated images.
        hr: the originals, constants here.
        network: what computes the features.
        criterion: ``l1``, ``mse`` (a squared L2 norm over the number of elements) or
            ``charbonnier``.
        layers: w by layer; without them every layer of the network has weight 1. They are summed
            up in the network's order.

    Raises:
        InvalidConfig: the network has no such layer.
    """
    with torch.no_grad():
        wanted = network.extract(hr)
    weights = layers or dict.fromkeys(wanted, 1.0)
    missing = [name for name in weights if name not in wanted]
    if missing:
        raise InvalidConfig(
            f"{network.name} shows no features of {', '.join(missing)}; it has {', '.join(wanted)}",
            field="losses.perceptual.layers",
        )
    found = network.extract(sr)
    compare = CRITERIA[criterion]
    terms = [
        weights[name] * compare(found[name].float(), wanted[name].float())
        for name in wanted
        if name in weights
    ]
    return torch.stack(terms).sum()
