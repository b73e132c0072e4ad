"""A trained generator as an `Upscaler`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16, place
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, NotSupported
from ranksrgan.contracts.image_tensor import require_tensor
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.parts import Parts
from ranksrgan.srgan.upscaling.layout import Layout
from ranksrgan.srgan.upscaling.precision import (
    LEAST_AGREEMENT,
    agreement,
    by_winograd,
    in_bfloat16,
    in_float16,
    suits_winograd,
)
from ranksrgan.srgan.upscaling.strip_upscaler import ReadRows
from ranksrgan.srgan.upscaling.tiling import Box, Tile, crop

log = logging.getLogger(__name__)

#: Bytes on a CPU unless told otherwise.
DEFAULT_MEMORY = 2**30

# One in so many free bytes of a GPU, unless told otherwise: a training may begin beside it.
_SHARE_OF_A_GPU = 4

UpscalePrecision = Literal["auto", "float32", "bfloat16", "float16"]

PRECISIONS: tuple[UpscalePrecision, ...] = get_args(UpscalePrecision)

_Computed = Literal["float32", "bfloat16", "float16"]


class GeneratorUpscaler:
    """Enlarges with a generator, whatever the image's size.

    The generator's parts go over the image in pieces (see `ranksrgan.srgan.generators.parts`), with
    the result that the whole image would have. What a part must see as a whole bounds the image's
    size. Calls share nothing that changes, so threads may share an upscaler.

    Args:
        network: is moved to ``device``, set to evaluation and owned from here on; pass a copy of
            one that is being trained.
        name: what the upscaler calls itself; the network's architecture by default.
        device: where the network runs. Images may lie elsewhere: only tiles travel.
        memory: bytes for feature maps and activations; 1 GiB by default, and on a GPU a quarter of
            what is free there. Weights, input and output come on top.
        tile: longest side of a tile in input pixels, without its halo; no piece is larger then.
        precision: ``bfloat16`` computes most convolutions in it, by Winograd's where that gives the
            same picture and the processor is made for it (native operators, compiled on first use,
            see `ranksrgan.metrics.native`), and ``float16``, for GPUs, all of
            them (see `ranksrgan.srgan.upscaling.precision`) where that gives the picture that
            float32 gives, to 60 dB on a probe; ``auto`` does so, in float16 on a GPU and in
            bfloat16 on a CPU that multiplies it, and else, or if the probe differs, computes in
            float32: by Winograd's convolutions on a CPU that has AVX2 at most.

    Attributes:
        precision: what is computed in, ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        InvalidInput: a device that is not there, or no room for one part of the network at a pixel.
        NotSupported: ``precision`` is one of 16 bits, and this network makes another picture in it.
    """

    def __init__(
        self,
        network: Generator,
        *,
        name: str | None = None,
        device: str | torch.device = "cpu",
        memory: int | None = None,
        tile: int | None = None,
        precision: UpscalePrecision = "float32",
    ) -> None:
        if tile is not None and tile < 1:
            raise InvalidInput(f"a tile of {tile} pixels holds nothing", field="tile")
        self._device = choose_device(device)
        self._scale = network.scale
        self._info = UpscalerInfo(
            name=name or network.architecture,
            version="1",
            scale=network.scale,
            architecture=network.architecture,
            parameters_hash=hash_tensors(network.state_dict()),
        )
        network.eval().requires_grad_(False).float()
        exact = place(network, self._device)
        layout = torch.channels_last
        if self._device.type == "cuda":
            # In float32 proper a GPU is faster with one plane after the other.
            layout = torch.contiguous_format
            exact.to(memory_format=layout)  # type: ignore[call-overload]
        self._layout = Layout(
            exact.parts(),
            memory=_default_memory(self._device) if memory is None else memory,
            tile=tile,
            name=network.architecture,
            on_cpu=self._device.type == "cpu",
        )
        # From the one to use first to the one that never fails.
        self._attempts = [_Attempt(exact.parts(), torch.float32, layout, "float32")]
        self.precision: _Computed = "float32"
        fast = _fast_twin(exact, precision, self._device, self._info.name)
        if fast is not None:
            self.precision, attempt = fast
            self._attempts.insert(0, attempt)

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    @property
    def joining(self) -> Joining:
        """Tile by tile: no image knows of another."""
        return Joining("exactly", self._device)

    def named(self, name: str, model_version: str = "") -> GeneratorUpscaler:
        """The same upscaler, weights shared, under another name and as that version of a model."""
        twin = copy(self)
        twin._info = replace(self._info, name=name, model_version=model_version)
        return twin

    def upscale(self, images: Tensor) -> Tensor:
        """Enlarge images; the result of each is the same whatever else the batch holds.

        Args:
            images: ``(N, 3, H, W)`` RGB, floating point in [0, 1].

        Returns:
            ``(N, 3, scale * H, scale * W)`` float32, clamped to [0, 1], on the device of
            ``images``.

        Raises:
            InvalidInput: another shape, type or range, or a value that is not finite.
            ImageTooLarge: ``memory`` holds neither what the network makes of the image nor a tile
                with all that it depends on; names what would do.
            InvalidCheckpoint: the network overflowed; there is no picture to be had from it.
            RequestCancelled: nobody waits for the result any more.
        """
        _check(images)
        count, _, height, width = images.shape
        area = Box(0, 0, height, width)
        tiles = self._layout.tiles(height, width)
        size = (count, 3, self._scale * height, self._scale * width)
        enlarged = torch.empty(size, dtype=torch.float32, device=images.device)
        for image, result in zip(images.detach(), enlarged, strict=True):
            for tile in tiles:
                self._enlarge(crop(image[None], area, tile.read), tile, area, result[None], area)
        return enlarged

    def upscale_strips(self, read_rows: ReadRows, height: int, width: int) -> Iterator[Tensor]:
        """See `StripUpscaler`. A strip takes up to a quarter of ``memory`` besides.

        None is kept here once it was yielded: who has done with one before asking for the next
        never holds two.
        """
        area = Box(0, 0, height, width)
        rows, above = None, 0  # the rows that are held, and how many came before them
        for tiles in self._rows_of_tiles(height, width):
            read, keep = tiles[0].read, tiles[0].keep
            rows, above = _move(rows, above, read.top, read.bottom, read_rows, width)
            held = Box(above, 0, above + rows.shape[2], width)
            yield self._strip(rows, held, tiles, Box(keep.top, 0, keep.bottom, width), area)

    def rows_needed(self, height: int, width: int) -> list[int]:
        """See `PlannedStripUpscaler`."""
        return [tiles[0].read.bottom for tiles in self._rows_of_tiles(height, width)]

    def _rows_of_tiles(self, height: int, width: int) -> list[list[Tile]]:
        tiles = self._layout.tiles(height, width, strips=True)
        return [list(row) for _, row in groupby(tiles, _kept_rows)]

    def _strip(self, rows: Tensor, held: Box, tiles: list[Tile], band: Box, image: Box) -> Tensor:
        """What becomes of a band of the image, from the rows that are held around it."""
        size = (1, 3, self._scale * band.height, self._scale * band.width)
        strip = torch.empty(size, dtype=torch.float32, device="cpu")
        for tile in tiles:
            self._enlarge(crop(rows, held, tile.read), tile, image, strip, band)
        return strip

    def _enlarge(self, x: Tensor, tile: Tile, image: Box, result: Tensor, area: Box) -> None:
        """Write what becomes of a tile into ``result``, which holds ``area`` enlarged."""
        x = x.to(self._device)
        for number, attempt in enumerate(self._attempts, start=1):
            run = self._layout.run(attempt.parts, image)
            # The caller may be inside of an autocast.
            with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
                finite = True
                given = x.to(attempt.stream).contiguous(memory_format=attempt.layout)
                for box, piece in run.pieces(given, tile.read, tile.keep):
                    # One sum sees every NaN and infinity and needs no mask of the output's size; a
                    # sum that overflows on its own would take values that are no picture either.
                    finite = bool(piece.sum(dtype=torch.float32).isfinite())
                    if not finite:
                        break
                    crop(result, area, box, self._scale).copy_(piece).clamp_(0, 1)
            if finite:
                return
            if number < len(self._attempts):
                log.warning(
                    "%s overflows in %s; once more in float32", self._info.name, attempt.name
                )
        raise InvalidCheckpoint(
            f"the generator {self._info.name} makes NaN or infinite pixels of this image: its "
            "weights have diverged",
            field=self._info.name,
        )


class _Attempt(NamedTuple):
    """A way to compute a generator: its parts, type and layout of what goes between them, and what
    it is called."""

    parts: Parts
    stream: torch.dtype
    layout: torch.memory_format
    name: str


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _fast_twin(
    exact: Generator, precision: UpscalePrecision, device: torch.device, name: str
) -> tuple[_Computed, _Attempt] | None:
    """The network in what is fastest, if that is wanted and gives the same picture."""
    if precision == "float32":
        return None
    wanted = _fastest(device) if precision == "auto" else precision
    stream = torch.float16 if wanted == "float16" else torch.float32
    twins = _twins(exact, wanted, device)
    if not twins:
        return None
    for how, twin in twins.items():
        fast = twin(exact)
        fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = agreement(exact, fast, device)
        if found >= LEAST_AGREEMENT:
            log.info("%s computes in %s, %.1f dB from float32", name, how, found)
            return wanted, _Attempt(fast.parts(), stream, torch.channels_last, how)
    problem = (
        f"in {wanted} {name} makes a picture {found:.1f} dB from that of float32, and "
        f"{LEAST_AGREEMENT:g} are wanted"
    )
    if precision == wanted:
        raise NotSupported(f"{problem}; use precision=float32", field="precision")
    log.info("%s: it computes in float32", problem)
    return None


def _fastest(device: torch.device) -> _Computed:
    if device.type != "cpu":
        return "float16"
    return "bfloat16" if computes_in_bfloat16("auto", device) else "float32"


def _twins(
    exact: Generator, wanted: _Computed, device: torch.device
) -> dict[str, Callable[[Generator], Generator]]:
    """What makes a network that is faster than ``exact``, the fastest first, by its name."""
    if wanted == "float16":
        return {"float16": in_float16}
    twins: dict[str, Callable[[Generator], Generator]] = {}
    dtype = _DTYPES[wanted]
    if device.type == "cpu" and suits_winograd(exact, dtype):
        twins[f"{wanted} by Winograd's convolutions"] = partial(by_winograd, dtype=dtype)
    if wanted == "bfloat16":
        twins["bfloat16"] = in_bfloat16
    return twins


def _kept_rows(tile: Tile) -> tuple[int, int]:
    return tile.keep.top, tile.keep.bottom


def _move(
    rows: Tensor | None, above: int, top: int, bottom: int, read_rows: ReadRows, width: int
) -> tuple[Tensor, int]:
    """Hold rows ``top`` to ``bottom``: drop those above, read those below."""
    held = above + (0 if rows is None else rows.shape[2])
    if rows is not None and held >= bottom:
        return rows[:, :, top - above :], top
    new = read_rows(held, bottom)
    _check(new)
    if new.shape != (1, 3, bottom - held, width):
        raise InvalidInput(
            f"rows {held} to {bottom} have the shape {tuple(new.shape)}; "
            f"{(1, 3, bottom - held, width)} is wanted",
            field="images",
        )
    if rows is None:
        return new, top
    return torch.cat((rows[:, :, top - above :], new), dim=2), top


def _default_memory(device: torch.device) -> int:
    if device.type == "cpu":
        return DEFAULT_MEMORY
    free, _ = torch.cuda.mem_get_info(device)
    return max(free // _SHARE_OF_A_GPU, DEFAULT_MEMORY)


def _check(images: Tensor) -> None:
    require_tensor(images)
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
