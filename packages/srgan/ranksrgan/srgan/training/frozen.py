"""Networks that a training asks and does not train: they are the same after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from ranksrgan.contracts.scorer import Scorer
from ranksrgan.srgan.training.features import FeatureNetwork


@contextmanager
def frozen(judges: Iterable[object]) -> Iterator[None]:
    """Within the block their networks are in eval() and gather no gradients.

    In train() BatchNorm would take up the generated images, and the next step meet another Ranker.
    However the block ends, every module is then in the mode that it was in before, and every
    parameter wants a gradient if it did. What is no ``nn.Module`` counts with those among its
    attributes, and in the lists, tuples and dictionaries there: a sum has scorers as terms.
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
    """The outermost modules; an object is looked into if it judges too, or lies in one's list."""
    found: list[nn.Module] = []
    waiting, seen = [judge], {id(judge)}
    while waiting:
        one = waiting.pop()
        if isinstance(one, nn.Module):
            found.append(one)
            continue
        inside = [part for part in _parts(one) if id(part) not in seen]
        seen.update(map(id, inside))
        waiting.extend(inside)
    return found


def _parts(one: object) -> Iterable[object]:
    if isinstance(one, dict):
        return one.values()
    if isinstance(one, list | tuple):
        return one
    if isinstance(one, Scorer | FeatureNetwork):
        return vars(one).values() if hasattr(one, "__dict__") else ()
    return ()
