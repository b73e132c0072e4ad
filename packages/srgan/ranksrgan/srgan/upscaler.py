"""A trained generator as an `Upscaler`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.errors import ImageTooLarge, InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.srgan.architectures import load_generator
from ranksrgan.srgan.generator import Generator, WholeImageGenerator
from ranksrgan.srgan.tiling import tile_for_memory, upscale_tiled

DEFAULT_MEMORY = 2**30

_OPTIONS = ("device", "memory", "tile")

#: ``(top, bottom)`` to rows ``top`` to ``bottom`` of an image, ``(1, 3, bottom - top, W)``, floating
#: point in [0, 1].
ReadRows = Callable[[int, int], Tensor]


@runtime_checkable
class StripUpscaler(Protocol):
    """An upscaler that never holds a whole image: rows go in, enlarged rows come out."""

    def upscale_strips(self, read_rows: ReadRows, height: int, width: int) -> Iterator[Tensor]:
        """Enlarge one image from top to bottom.

        Args:
            read_rows: is asked for every row once, in order: (0, a), (a, b), ... (z, height).
                How many at a time is the upscaler's choice.
            height: of the image.
            width: of the image.

        Yields:
            ``(1, 3, n, scale * width)`` float32 in [0, 1] on the CPU: the rows of the result from
            the top, n as it comes; ``scale * height`` in all. What `Upscaler.upscale` makes of the
            whole image, cut into strips.

        Raises:
            InvalidInput, ImageTooLarge, InvalidCheckpoint, RequestCancelled: as
                `Upscaler.upscale`; between two strips as well.
        """
        ...


class GeneratorUpscaler:
    """Enlarges with a generator in float32, whatever the image's size.

    An image whose activations fit into ``memory`` goes through the network as a whole; a larger one
    is tiled, with the same result (see `ranksrgan.srgan.tiling`). Of a `WholeImageGenerator` only
    the second part is tiled; the first bounds the image's size. Calls share nothing that changes,
    so threads may share an upscaler.

    Args:
        network: is moved to ``device``, set to evaluation and owned from here on; pass a copy of
            one that is being trained.
        name: what the upscaler calls itself; the network's architecture by default.
        device: where the network runs. Images may lie elsewhere: only tiles travel.
        memory: bytes for the activations of one tile. Weights, input and output come on top.
        tile: longest side of a tile in input pixels, without its halo; decides instead of
            ``memory`` (what must be whole stays whole, within ``memory``).

    Raises:
        InvalidInput: a device that is not there, or room for less than one tile.
    """

    def __init__(
        self,
        network: Generator,
        *,
        name: str | None = None,
        device: str | torch.device = "cpu",
        memory: int = DEFAULT_MEMORY,
        tile: int | None = None,
    ) -> None:
        if tile is not None and tile < 1:
            raise InvalidInput(f"a tile of {tile} pixels holds nothing", field="tile")
        self._device = _usable(device)
        self._overlap = network.receptive_field
        self._scale = network.scale
        self._tile = tile
        self._memory = memory
        pixel_bytes = network.bytes_per_pixel
        self._whole = memory // pixel_bytes  # pixels of an image that is not tiled
        self._largest = (
            tile_for_memory(memory, pixel_bytes, self._overlap) if tile is None else tile
        )
        self._info = UpscalerInfo(
            name=name or network.architecture,
            version="1",
            scale=network.scale,
            architecture=network.architecture,
            parameters_hash=hash_tensors(network.state_dict()),
        )
        self._network = network.eval().requires_grad_(False)
        self._network.to(device=self._device, dtype=torch.float32)
        # mypy knows no `to` of a module with a memory format alone.
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    def upscale(self, images: Tensor) -> Tensor:
        """Enlarge images; the result of each is the same whatever else the batch holds.

        Args:
            images: ``(N, 3, H, W)`` RGB, floating point in [0, 1].

        Returns:
            ``(N, 3, scale * H, scale * W)`` float32, clamped to [0, 1], on the device of
            ``images``.

        Raises:
            InvalidInput: another shape, type or range, or a value that is not finite.
            ImageTooLarge: the network must see the image as a whole, and ``memory`` does not hold
                what it makes of it.
            InvalidCheckpoint: the network overflowed; there is no picture to be had from it.
            RequestCancelled: nobody waits for the result any more.
        """
        _check(images)
        height, width = images.shape[2:]
        trunk = self._trunk(height, width)
        fits = self._tile is None and height * width <= self._whole
        with torch.no_grad():
            return upscale_tiled(
                self._enlarge,
                images.detach().float(),
                scale=self._scale,
                overlap=self._overlap,
                tile=max(height, width) if fits else self._largest,
                trunk=trunk,
            )

    def upscale_strips(self, read_rows: ReadRows, height: int, width: int) -> Iterator[Tensor]:
        """See `StripUpscaler`."""
        yield self.upscale(read_rows(0, height)).cpu()

    def _trunk(self, height: int, width: int) -> Callable[[Tensor], Tensor] | None:
        """What the network does with a whole image before there can be tiles, if anything."""
        network = self._network
        if not isinstance(network, WholeImageGenerator):
            return None
        needed = height * width * network.trunk_bytes_per_pixel
        if needed > self._memory:
            raise ImageTooLarge(
                f"{network.architecture} must see an image as a whole and cannot be tiled: "
                f"{height} x {width} pixels need memory={math.ceil(needed / 2**20)} (MiB), and "
                f"{self._memory / 2**20:g} are allowed",
                field="images",
            )
        return lambda image: self._compute(network.trunk, image)

    def _enlarge(self, piece: Tensor) -> Tensor:
        network = self._network
        part = network.enlarge if isinstance(network, WholeImageGenerator) else network
        enlarged = self._compute(part, piece)
        # One sum sees every NaN and infinity and needs no mask of the output's size; a sum that
        # overflows on its own would take values that are no picture either.
        if not bool(enlarged.sum().isfinite()):
            raise InvalidCheckpoint(
                f"the generator {self._info.name} makes NaN or infinite pixels of this image: its "
                "weights have diverged",
                field=self._info.name,
            )
        return enlarged.clamp_(0, 1)

    def _compute(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        x = x.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, enabled=False):  # the caller may be inside of one
            return part(x)


def open_generator(argument: str, options: Mapping[str, str]) -> GeneratorUpscaler:
    """Entry point of weights files: ``generator.safetensors?device=cuda&memory=4096``.

    Args:
        argument: path of the weights.
        options: ``device`` (as torch names it), ``memory`` (MiB for the activations of a tile) and
            ``tile`` (its longest side in input pixels), of which the latter decides.

    Raises:
        InvalidInput: an unknown option, or a value that it cannot have.
        InvalidCheckpoint: see `load_generator`.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(
            f"a generator has no option {', '.join(unknown)}; it has: {', '.join(_OPTIONS)}",
            field=unknown[0],
        )
    memory = _whole_number(options, "memory")
    return GeneratorUpscaler(
        load_generator(Path(argument)),
        name=argument,
        device=options.get("device", "cpu"),
        memory=DEFAULT_MEMORY if memory is None else memory * 2**20,
        tile=_whole_number(options, "tile"),
    )


def _usable(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise InvalidInput(f"device={name} cannot be used here: {error}", field="device") from error
    if device.type == "cuda":
        # Convolutions in TF32 are good to three digits only. The switch belongs to the process:
        # flipping it around each call would race between threads.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    return device


def _whole_number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise InvalidInput(f"{name}={text} is not a whole number above 0", field=name)
    return int(text)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise InvalidInput(
            f"images has the shape {tuple(images.shape)}; an upscaler takes (N, 3, H, W) with "
            "at least one pixel",
            field="images",
        )
    if not images.is_floating_point():
        raise InvalidInput(
            f"images is of type {images.dtype}; an upscaler takes floating point in [0, 1]",
            field="images",
        )
    low, high = (float(bound) for bound in images.detach().aminmax())
    if not (low >= 0 and high <= 1):  # also when they are NaN
        raise InvalidInput(
            f"images holds values from {low:g} to {high:g}; an upscaler takes [0, 1] (clamp, or "
            "divide by 255)",
            field="images",
        )
