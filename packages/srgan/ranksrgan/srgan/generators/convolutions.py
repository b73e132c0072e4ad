"""A convolution and what follows it, in as few passes over the maps as there are kernels for."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generators.winograd import WinogradConvolution

Convolution: TypeAlias = "nn.Conv2d | WinogradConvolution"


def convolution_relu(layer: Convolution, x: Tensor, slope: float = 0.0) -> Tensor:
    """``leaky_relu(layer(x))``: where that is negative, ``slope`` of it.

    In 16 bits on a GPU a ReLU is done by the kernel that does both at once: torch itself adds the
    bias and takes the ReLU in two more passes over the result, each of which takes as long as the
    convolution.
    """
    if isinstance(layer, WinogradConvolution):
        return layer.then(x, slope=slope)
    dtype = _computed_in(layer.weight)
    if slope or not x.is_cuda or dtype.itemsize != 2 or isinstance(layer.padding, str):
        return F.leaky_relu(layer(x), slope, inplace=True) if slope else F.relu_(layer(x))
    if layer.padding_mode != "zeros" or torch.compiler.is_compiling():
        return F.relu_(layer(x))
    bias = None if layer.bias is None else layer.bias.to(dtype)
    fused: Tensor = _ConvolutionReLU.apply(  # type: ignore[no-untyped-call]
        x.to(dtype),
        layer.weight.to(dtype),
        bias,
        (layer.stride, layer.padding, layer.dilation, layer.groups),
    )
    return fused


def _computed_in(weight: Tensor) -> torch.dtype:
    """The type in which a convolution with it computes."""
    kind = weight.device.type
    if weight.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return weight.dtype


class _ConvolutionReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: tuple[Any, ...]
    ) -> Tensor:
        stride, padding, dilation, groups = form
        result = torch.cudnn_convolution_relu(x, weight, bias, stride, padding, dilation, groups)
        ctx.form = form
        ctx.save_for_backward(x, weight, result)
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, result = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.form
        # As torch has it for the two apart.
        gradient = torch.ops.aten.threshold_backward(outputs[0], result, 0)
        found = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [weight.shape[0]],
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            groups,
            ctx.needs_input_grad[:3],
        )
        return (*found, None)


def convolution_shuffle(
    layer: Convolution, shuffle: nn.PixelShuffle, x: Tensor, slope: float | None = None
) -> Tensor:
    """``shuffle(leaky_relu(layer(x)))``, or without the activation where there is no ``slope``."""
    if isinstance(layer, WinogradConvolution) and layer.shuffles(shuffle.upscale_factor):
        return layer.then(x, slope=1.0 if slope is None else slope, shuffle=shuffle.upscale_factor)
    shuffled: Tensor = shuffle(layer(x) if slope is None else convolution_relu(layer, x, slope))
    return shuffled


def convolution_add(layer: Convolution, x: Tensor, to: Tensor, factor: float = 1.0) -> Tensor:
    """``to + factor * layer(x)``."""
    if isinstance(layer, WinogradConvolution):
        return layer.added(x, to, factor)
    return torch.add(to, layer(x), alpha=factor)
