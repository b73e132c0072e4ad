"""Network interpolation: weights between those of two trained generators.

    w = (1 - alpha) w_A + alpha w_B               (ESRGAN, section 3.4)

With A trained on pixels and B, begun from A, on perceptual and adversarial losses, ``alpha`` trades
fidelity for texture without training again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.generator import Generator


def interpolate(a: Generator, b: Generator, alpha: float) -> dict[str, Tensor]:
    """The weights between two generators of one architecture and size.

    Args:
        a: its weights are the result at ``alpha`` 0, to the bit.
        b: likewise at 1.
        alpha: from 0 to 1.

    Returns:
        A state dict for a network like them. Counts of batches, which are no weights, are A's.

    Raises:
        InvalidInput: another ``alpha``, or networks that differ, with the difference by name.
    """
    if not 0 <= alpha <= 1:
        raise InvalidInput(f"alpha is {alpha:g}; it is from 0 to 1", field="alpha")
    if a.architecture != b.architecture:
        raise InvalidInput(
            f"there is nothing between a {a.architecture} and a {b.architecture}: both have to be "
            "of one architecture",
            field="architecture",
        )
    state_a, state_b = a.state_dict(), b.state_dict()
    if difference := _difference(a.options, b.options) or _shapes(state_a, state_b):
        raise InvalidInput(
            f"there is nothing between {a.architecture}s of different size: {difference}",
            field="options",
        )
    return {key: _between(value, state_b[key], alpha) for key, value in state_a.items()}


def _between(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return a.clone()
    return torch.lerp(a.double(), b.double(), alpha).to(a.dtype)


def _difference(a: Mapping[str, object], b: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {a.get(name)} and {b.get(name)}"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    )


def _shapes(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str:
    shapes_a = {key: tuple(value.shape) for key, value in a.items()}
    return _difference(shapes_a, {key: tuple(value.shape) for key, value in b.items()})
