"""Distance between multivariate Gaussians: what NIQE makes of its features.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE
Signal Processing Letters 20(3), 2013, equation (10).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference


def mvg_distance(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """sqrt((m - m_i)' ((C + C_i) / 2)^-1 (m - m_i)) for the Gaussian m_i, C_i of each image's rows.

    A feature's mean leaves out the gaps of that feature alone, the covariance (unbiased) every row
    with a gap, as MATLAB's nanmean and nancov do.

    Args:
        features: ``(N, P, K)`` float64, NaN for a gap. Gradients flow to all three arguments.
        mean: ``(K,)`` float64.
        covariance: ``(K, K)`` float64, symmetric and positive definite.

    Returns:
        ``(N,)`` float64, NaN for an image with fewer than two rows without a gap, or where the mean
        of the two covariances is not positive definite.

    Raises:
        InvalidInput: another type or shape.
    """
    for name, argument in (("features", features), ("mean", mean), ("covariance", covariance)):
        if argument.dtype != torch.float64:
            raise InvalidInput(f"{name}: float64 wanted, got {argument.dtype}", field=name)
    if features.dim() != 3 or features.shape[2] == 0:
        raise InvalidInput(
            f"features: shape (N, P, K) with K >= 1 wanted, got {tuple(features.shape)}",
            field="features",
        )
    size = features.shape[2]
    if mean.shape != (size,):
        raise InvalidInput(f"mean: shape {(size,)} wanted, got {tuple(mean.shape)}", field="mean")
    if covariance.shape != (size, size):
        raise InvalidInput(
            f"covariance: shape {(size, size)} wanted, got {tuple(covariance.shape)}",
            field="covariance",
        )
    operator = native.operator("mvg_distance", twin=reference.mvg_distance, register=_register)
    distances: Tensor = operator(features, mean, covariance)
    return distances


def _register(name: str) -> None:
    """Tell torch the shape and the gradient of the compiled operator ``name``."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.mvg_distance)
    torch.library.register_fake(name, _fake)
    torch.library.register_autograd(name, _backward, setup_context=_save)


def _fake(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    return features.new_empty(features.shape[:1])


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    again = torch.is_grad_enabled()
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
    with torch.enable_grad():
        distances = reference.mvg_distance(*inputs)
        found = iter(torch.autograd.grad(distances, wanted, gradient, create_graph=again))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
