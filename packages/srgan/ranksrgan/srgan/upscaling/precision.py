"""Inference that is faster than in plain float32 and nearly as good, and the check that it is.

Of plain bfloat16 two roundings can be seen: the picture's own (near white one step is 1/256), and
those of the residual stream, to which every block adds and which every block rounds again. So the
first convolution and the last stay float32. The stream that the first one begins stays float32 with
it, since float32 plus bfloat16 is float32, while all convolutions in between read and write
bfloat16. On trained x4 networks plain bfloat16 is at 44 to 55 dB of float32, and this at 61 to 75.

Where `ranksrgan.srgan.generators.winograd` serves, it takes the place of convolutions in bfloat16:
1.5 to 2 times as fast, and about 2 dB further from float32. On processors that do not multiply
bfloat16 it takes the place of those in float32, and the picture is the same but for the last bits.

A GPU multiplies float16 just as fast, which rounds eight times finer: there everything is float16,
the stream as well. It ends at 65504; what overflows is computed again in float32.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generators import winograd
from ranksrgan.srgan.generators.generator import Generator

Network = TypeVar("Network", bound=Generator)

#: Fewer decibels between 16 bits and float32 than these are not taken for the same picture.
LEAST_AGREEMENT = 60.0

_PROBE_SIDE = 32


def in_bfloat16(network: Network) -> Network:
    """A copy whose convolutions, but for the first and the last, compute in bfloat16."""
    return _computing_in(torch.bfloat16, network, convolutions(network)[1:-1])


def suits_winograd(network: nn.Module, dtype: torch.dtype) -> bool:
    """Whether Winograd's convolutions in bfloat16 or float32 can be had on this CPU, for half of a
    network's or more.

    With fewer there is little to be gained for what they round.

    Raises:
        InvalidConfig, NotSupported: see `ranksrgan.srgan.generators.winograd.usable`.
    """
    inner = [network.get_submodule(name) for name in convolutions(network)[1:-1]]
    fitting = sum(map(winograd.fits, inner))
    return bool(inner) and 2 * fitting >= len(inner) and winograd.usable(dtype)


def by_winograd(network: Network, dtype: torch.dtype = torch.bfloat16) -> Network:
    """A copy with native operators in place of the convolutions that they fit; in bfloat16 as
    `in_bfloat16`, or in float32."""
    inner = convolutions(network)[1:-1]
    twin = in_bfloat16(network) if dtype == torch.bfloat16 else copy.deepcopy(network)
    for parent_name, parent in list(twin.named_modules()):
        for name, _ in list(parent.named_children()):
            path = f"{parent_name}.{name}".lstrip(".")
            exact = network.get_submodule(path)
            if path in inner and winograd.fits(exact):
                setattr(parent, name, winograd.WinogradConvolution(exact, dtype))
            elif winograd.makes_rgb(exact):
                setattr(parent, name, winograd.RgbConvolution(exact))
    return twin


def in_float16(network: Network) -> Network:
    """A copy whose convolutions all compute in float16."""
    return _computing_in(torch.float16, network, convolutions(network))


def convolutions(network: nn.Module) -> list[str]:
    """Their names, in order."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def _computing_in(dtype: torch.dtype, network: Network, which: list[str]) -> Network:
    twin = copy.deepcopy(network)
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.to(dtype if name in which else torch.float32)
            module.register_forward_pre_hook(_as_weights)
        for child_name, child in module.named_children():
            if isinstance(child, nn.PReLU):
                slope = _Slope(child.num_parameters)
                slope.weight = child.weight
                setattr(module, child_name, slope)
    return twin


def agreement(exact: Generator, fast: Generator, device: torch.device) -> float:
    """PSNR in dB between two networks' enlargements of a probe; NaN if one is not finite."""
    probe = probe_image().to(device).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        a, b = (network(probe).double().clamp(0, 1) for network in (exact, fast))
    return float(-10 * (a - b).square().mean().log10())


def probe_image(side: int = _PROBE_SIDE) -> Tensor:
    """``(1, 3, side, side)`` in [0, 1]: a ramp, waves, an edge and fine noise, in three colours."""
    generator = torch.Generator().manual_seed(0)
    y = torch.linspace(0, 1, side)[:, None]
    x = torch.linspace(0, 1, side)[None, :]
    colours = torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    waves = 0.15 * torch.sin(20 * x * (0.5 + y) + 6 * colours)
    edge = 0.25 * (x + 0.6 * y > 0.8)
    noise = 0.03 * torch.randn((3, side, side), generator=generator)
    return (0.2 + 0.3 * y + colours * edge + waves + noise).clamp(0, 1)[None]


def _as_weights(module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
    """A convolution's input in the type of its weights."""
    weight = module.get_parameter("weight")
    return (arguments[0].to(weight.dtype),)


class _Slope(nn.PReLU):
    """A PReLU that takes any type of input; torch's own wants that of its slopes."""

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x.dtype))
