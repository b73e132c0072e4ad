"""Mean-subtracted contrast-normalised (MSCN) planes: the input of natural-scene statistics.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer",
IEEE Signal Processing Letters 20(3), 2013, equations (1) to (3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference


class Mscn(NamedTuple):
    """Each ``(N, H, W)``, of the type and on the device of the input.

    Attributes:
        normalised: ``(x - mean) / (deviation + 1)``.
        mean: Gaussian-weighted local mean.
        deviation: Gaussian-weighted local standard deviation.
    """

    normalised: Tensor
    mean: Tensor
    deviation: Tensor


def mscn(planes: Tensor) -> Mscn:
    """Normalise planes by their local mean and contrast.

    The window is a 7x7 Gaussian of sigma 7/6 and the border pixels are repeated outwards. A
    difference from the mean below 1e-9 counts as 0, so that the sign of rounding noise in flat
    areas does not enter the statistics. float32 is computed in float64 and rounded once.

    Args:
        planes: ``(N, H, W)`` float32 or float64 on the 0..255 scale; N may be 0. Gradients flow.

    Raises:
        InvalidInput: another type or shape.
    """
    if planes.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"planes: float32 or float64 wanted, got {planes.dtype}", field="planes")
    if planes.dim() != 3 or 0 in planes.shape[1:]:
        raise InvalidInput(
            f"planes: shape (N, H, W) with H, W >= 1 wanted, got {tuple(planes.shape)}",
            field="planes",
        )
    return Mscn(*native.operator("mscn", twin=reference.mscn, register=_register)(planes))


def _register(name: str) -> None:
    """Tell torch the shapes and the gradient of the compiled operator ``name``."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.mscn)
    torch.library.register_fake(name, _fake)
    torch.library.register_autograd(name, _backward, setup_context=_save)


def _fake(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (
        planes.new_empty(planes.shape),
        planes.new_empty(planes.shape),
        planes.new_empty(planes.shape),
    )


def _save(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, *gradients: Tensor) -> Tensor:
    (planes,) = ctx.saved_tensors
    again = torch.is_grad_enabled()
    gradient: Tensor
    with torch.enable_grad():
        outputs = reference.mscn(planes)
        (gradient,) = torch.autograd.grad(outputs, planes, gradients, create_graph=again)
    return gradient
