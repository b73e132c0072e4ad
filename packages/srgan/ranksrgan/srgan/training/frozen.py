"""Networks that a training asks and does not train: they are the same after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(judges: Iterable[object]) -> Iterator[None]:
    """Within the block their networks are in eval() and gather no gradients.

    In train() BatchNorm would take up the generated images, and the next step meet another Ranker.
    However the block ends, every module is then in the mode that it was in before, and every
    parameter wants a gradient if it did. What is no ``nn.Module`` counts with those among its
    attributes.
    """
    networks = [network for judge in judges for network in _networks(judge)]
    # All of them before any is changed: one network may be asked in several places.
    modes = [
        (module, getattr(module, "training", False))  # torch.jit.freeze leaves none
        for network in networks
        for module in network.modules()
    ]
    trained = [p for network in networks for p in network.parameters() if p.requires_grad]
    try:
        for network in networks:
            network.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training  # train() would change the modules inside as well
        for parameter in trained:
            parameter.requires_grad_(True)


def _networks(judge: object) -> list[nn.Module]:
    if isinstance(judge, nn.Module):
        return [judge]
    attributes = getattr(judge, "__dict__", {}).values()
    return [attribute for attribute in attributes if isinstance(attribute, nn.Module)]
