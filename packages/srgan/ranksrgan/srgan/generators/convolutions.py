"""A convolution and what follows it, in as few passes over the maps as there are kernels for."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generators.winograd import WinogradConvolution

Convolution: TypeAlias = "nn.Conv2d | WinogradConvolution"


def convolution_relu(layer: Convolution, x: Tensor, slope: float = 0.0) -> Tensor:
    """``leaky_relu(layer(x))``: where that is negative, ``slope`` of it.

    In 16 bits on a GPU, where no gradient is wanted, a ReLU is done by the kernel that does both at
    once: torch itself adds the bias and takes the ReLU in two more passes over the result, each of
    which takes as long as the convolution.
    """
    if isinstance(layer, WinogradConvolution):
        return layer.then(x, slope=slope)
    weight = layer.weight
    fused = x.is_cuda and weight.dtype.itemsize == 2 and not torch.is_grad_enabled()
    if slope or not fused or isinstance(layer.padding, str):
        return F.leaky_relu(layer(x), slope, inplace=True) if slope else F.relu_(layer(x))
    return torch.cudnn_convolution_relu(
        x.to(weight.dtype),
        weight,
        layer.bias,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )


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
