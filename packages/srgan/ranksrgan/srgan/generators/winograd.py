"""3x3 convolutions with fewer than half of the multiplications, in bfloat16 or in float32.

Winograd's minimal filtering F(2x2, 3x3) (A. Lavin, S. Gray, "Fast Algorithms for Convolutional
Neural Networks", CVPR 2016): tiles of 4 x 4 pixels d and filters g become

    V = B' d B,  U = G g G',  and a tile of 2 x 2 outputs is  A' [sum over channels of U * V] A.

16 products take the place of 36. The native operators do all of it for a few tiles in a core's
cache, and in the same pass add bias and residual, take the activation and shuffle pixels, each of
which is otherwise a pass over memory. Sums are float32.

In bfloat16 V and U alone are rounded. A network is about 2 dB further from float32 than by direct
convolutions in bfloat16 then: half of that is the sums of pixels and of weights that are rounded,
half that pixels have been rounded before. The operator is for processors that multiply bfloat16 in
AVX-512 registers; those with matrix units (AMX) are faster by oneDNN's direct convolutions.

In float32 the errors are those of direct convolutions or less, since fewer numbers are added up.
That operator is for processors with AVX2 and nothing wider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.metrics import native
from ranksrgan.srgan.generators import convolution_reference as reference

# Outputs that a kernel computes at a time: as many as possible.
_BLOCKS = {torch.bfloat16: (64, 32), torch.float32: (32,)}

_CHANNELS = 32  # a multiple of it is wanted

_FILTERS = torch.tensor(  # G
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    dtype=torch.float64,
    device="cpu",
)


def usable(dtype: torch.dtype) -> bool:
    """Whether the native operators serve here and are the fastest; looks for them if need be.

    Args:
        dtype: that they compute in, bfloat16 or float32.

    Raises:
        InvalidConfig, NotSupported: see `ranksrgan.metrics.native.operator`.
    """
    faster = "amx_bf16" if dtype == torch.bfloat16 else "avx512_f"
    if not _able(dtype) or torch.cpu.get_capabilities()[faster]:
        return False
    _winograd(dtype)
    _to_rgb(torch.float32)
    return native.status().in_use


def fits(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `WinogradConvolution` can take the place of a layer."""
    return _is_plain(layer) and layer.out_channels % _CHANNELS == 0


def makes_rgb(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `RgbConvolution` can take the place of a layer."""
    return _is_plain(layer) and layer.out_channels == 3


class WinogradConvolution(nn.Module):
    """A convolution for inference on a CPU, and what follows it.

    In bfloat16, maps come in that or in float32; what an activation follows is made in bfloat16,
    sums in float32, and what only a convolution makes is of the type of its input. In float32 all
    is that.

    Args:
        layer: `fits`; its weights in float32.
        dtype: that it computes in, bfloat16 or float32.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.out_channels = layer.out_channels
        self.dtype = dtype
        self._weight = layer.weight.detach()
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
        self._bias = bias.float()
        # By the factor of the shuffle. Made on first use, since few layers are used both ways;
        # threads that do so at once make the same.
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self._convolve(x, _empty_like(x, self.out_channels, x.dtype))

    def then(self, x: Tensor, *, slope: float, shuffle: int = 1) -> Tensor:
        """``max(y, slope * y)`` of the result y, and a pixel shuffle, in the type of this layer."""
        channels = self.out_channels // shuffle**2
        out = _empty_like(x, channels, self.dtype, shuffle)
        return self._convolve(x, out, slope=slope, shuffle=shuffle)

    def shuffles(self, factor: int) -> bool:
        """Whether `then` can shuffle by this factor."""
        return self.out_channels % (_CHANNELS * factor**2) == 0

    def added(self, x: Tensor, to: Tensor, factor: float = 1.0) -> Tensor:
        """``to + factor * y`` in float32; ``to`` is a float32 map."""
        out = torch.empty_like(to, memory_format=torch.channels_last)
        return self._convolve(x, out, residual=to, factor=factor)

    def write(self, x: Tensor, out: Tensor, *, slope: float) -> None:
        """``max(y, slope * y)`` into a map, which may be some channels of a larger one."""
        self._convolve(x, out, slope=slope)

    def _convolve(
        self,
        x: Tensor,
        out: Tensor,
        *,
        residual: Tensor | None = None,
        factor: float = 1.0,
        slope: float = 1.0,
        shuffle: int = 1,
    ) -> Tensor:
        if shuffle not in self._packed:
            weight = pack(self._weight, shuffle, self.dtype)
            self._packed[shuffle] = (weight, _shuffled(self._bias, shuffle))
        weight, bias = self._packed[shuffle]
        operator = _winograd(self.dtype)
        x = _channels_last(x)
        residual = None if residual is None else _channels_last(residual)
        for n in range(x.shape[0]):
            image = slice(n, n + 1)
            one = None if residual is None else residual[image]
            operator(x[image], weight, bias, out[image], one, factor, slope, shuffle)
        return out


class RgbConvolution(nn.Module):
    """A convolution to three channels, in float32 throughout, for inference on a CPU.

    The channels of a pixel are multiplied once for all pixels that it is a neighbour of: 27
    products fill registers, where three outputs would leave most of one empty.

    Args:
        layer: `makes_rgb`; its weights in float32.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        weight = layer.weight.detach().permute(1, 2, 3, 0).flatten(1)
        self._weight = F.pad(weight, (0, 32 - weight.shape[1])).contiguous()
        self._bias = torch.zeros(3) if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        operator = _to_rgb(x.dtype)
        x = _channels_last(x)
        images = [operator(x[n : n + 1], self._weight, self._bias) for n in range(x.shape[0])]
        return images[0] if len(images) == 1 else torch.cat(images)


def pack(weight: Tensor, shuffle: int = 1, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Filters as the operator takes them.

    Args:
        weight: ``(O, C, 3, 3)``; C is even, and O / shuffle^2 a multiple of 32.
        shuffle: factor of the pixel shuffle that follows: outputs that become neighbours in one
            channel lie that far apart afterwards.
        dtype: that is computed in, bfloat16 or float32.

    Returns:
        ``(blocks, 16, C / n, outputs of a block, n)`` of ``dtype``, n 2 for bfloat16, which is
        multiplied in pairs, else 1.
    """
    weight = _shuffled(weight.double(), shuffle)
    outputs, channels = weight.shape[:2]
    together = 2 if dtype == torch.bfloat16 else 1
    block = next(size for size in _BLOCKS[dtype] if outputs // shuffle**2 % size == 0)
    transformed = torch.einsum("ai,bj,ocij->aboc", _FILTERS, _FILTERS, weight)
    blocks = transformed.reshape(16, outputs // block, block, channels // together, together)
    return blocks.permute(1, 0, 3, 2, 4).to(dtype).contiguous()


def _shuffled(outputs: Tensor, factor: int) -> Tensor:
    """From c r^2 + phase to phase C + c."""
    square = factor**2
    return outputs.reshape(-1, square, *outputs.shape[1:]).transpose(0, 1).reshape(outputs.shape)


def _empty_like(x: Tensor, channels: int, dtype: torch.dtype, scale: int = 1) -> Tensor:
    count, _, height, width = x.shape
    shape = (count, channels, scale * height, scale * width)
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def _channels_last(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (3, 3)
        and layer.padding == (1, 1)
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.groups == 1
        and layer.in_channels % _CHANNELS == 0
    )


def _able(dtype: torch.dtype) -> bool:
    """Whether the processor has what the native operators are compiled for."""
    if not hasattr(torch.cpu, "get_capabilities"):  # came after torch 2.10
        return False
    wanted = ("avx512_bf16",) if dtype == torch.bfloat16 else ("avx2", "fma3")
    capabilities = torch.cpu.get_capabilities()
    return all(capabilities.get(name) for name in wanted)


def _winograd(dtype: torch.dtype) -> Callable[..., None]:
    def register(name: str) -> None:
        torch.library.register_fake(name, lambda *_: None)

    if not _able(dtype):
        return reference.winograd
    return native.operator("winograd", twin=reference.winograd, register=register)


def _to_rgb(dtype: torch.dtype) -> Callable[..., Tensor]:
    """For maps of that type; those of float32 have two kernels."""

    def fake(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x.new_empty((1, 3, *x.shape[2:]), dtype=torch.float32)

    def register(name: str) -> None:
        torch.library.register_fake(name, fake)

    if not (_able(torch.bfloat16) or _able(dtype)):
        return reference.convolve_to_rgb
    return native.operator("convolve_to_rgb", twin=reference.convolve_to_rgb, register=register)
