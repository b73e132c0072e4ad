"""A generator as a sequence of parts, each of which sees a little further than a pixel.

A network of 36 convolutions depends on 36 pixels around each pixel, so that tiles through all of it
carry wide halos. Its parts (a residual block, the up-sampler) depend on two or three each. Between
parts the feature maps of a whole tile are kept, and each part goes over them in chunks that stay in
the cache and in memory which the allocator already has: a halo of a few pixels is all that is
computed twice, and the large maps behind the last shuffle never exist as a whole.

A generator may fold its image first: squares of pixels become the channels of one. All of the above
happens to the folded image then, and areas consist of whole squares.

At the border of the image a chunk ends with the image, like any tile (see
`ranksrgan.srgan.upscaling.tiling`). What comes out equals the whole image's result but for the
order of floating-point sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.upscaling.tiling import Box, Tile, around, crop, plan, shape_of_tiles
from ranksrgan.srgan.upscaling.workers import Workers

# A chunk of this size is worked on in the cache, and its maps stay below the 32 MiB from which on
# the C library fetches fresh pages for every tensor.
_CHUNK_BYTES = 2**26

# Chunks are at least this many times as long as their halo is wide, if memory allows.
_LEAST_SIDE = 40


@dataclass(frozen=True)
class Part:
    """One step of a generator.

    Attributes:
        compute: ``(1, C, H, W)`` to ``(1, channels, scale * H, scale * W)``, a tensor of its own.
        reach: how many pixels to each side of a pixel its result depends on; None if on all.
        channels: of the result.
        bytes_per_pixel: what float32 inference holds at its peak for each pixel that goes in.
        scale: output side divided by input side; 1 for all but the last part.
    """

    compute: Callable[[Tensor], Tensor]
    reach: int | None
    channels: int
    bytes_per_pixel: int
    scale: int = 1


@dataclass(frozen=True)
class Residual:
    """``x + factor * parts(x)``, in which every part keeps the size."""

    parts: tuple[Step, ...]
    factor: float = 1.0


Step: TypeAlias = "Part | Residual"


@dataclass(frozen=True)
class Parts:
    """A whole generator: what happens at the LR resolution, and the part that leaves it.

    Attributes:
        trunk: what happens at the LR resolution.
        enlarge: the part that leaves it.
        fold: side of the squares that are folded before all (see `fold`); the parts, their reach
            and their bytes know the folded image alone.
    """

    trunk: tuple[Step, ...]
    enlarge: Part
    fold: int = 1

    @property
    def scale(self) -> int:
        """Output side divided by that of the image, before it is folded."""
        return self.enlarge.scale // self.fold

    @property
    def reach(self) -> int | None:
        """How many (folded) pixels to each side of one the result depends on; None: on all."""
        return _total(_reach(self.trunk), self.enlarge.reach)

    @property
    def map_bytes(self) -> int:
        """What is kept per pixel between parts in float32: maps read, written, and of residuals."""
        channels = max((part.channels for part in _flat(self.trunk)), default=0)
        if not channels:
            return 0
        # The folded image is there until the first map is.
        return 4 * max(channels * (2 + _depth(self.trunk)), channels + 3 * self.fold**2)

    def flat(self) -> list[Part]:
        """Every part, in the order of computation."""
        return [*_flat(self.trunk), self.enlarge]


@dataclass
class Run:
    """One way of an area of an image through a generator.

    Attributes:
        parts: of the generator.
        image: the whole image, in whose coordinates boxes are given.
        memory: bytes that one part may hold at a time.
        tile: longest side of a chunk, if there is such a limit; one square is always allowed.
        cached: keep chunks small enough for a CPU's cache, whatever ``memory`` would hold.
        workers: compute several chunks at a time; None: one after the other.
    """

    parts: Parts
    image: Box
    memory: int
    tile: int | None = None
    cached: bool = True
    workers: Workers | None = None
    _free: list[Tensor] = field(default_factory=list, init=False)
    _image: Box = field(init=False)  # folded, as all boxes are in here

    def __post_init__(self) -> None:
        self._image = self.image.folded(self.parts.fold)

    def pieces(self, x: Tensor, have: Box, keep: Box) -> Iterator[tuple[Box, Tensor]]:
        """The enlargement of an area, one piece at a time.

        Args:
            x: ``(1, 3, H, W)``, the area ``have`` of the image.
            have: goes `Parts.reach` beyond ``keep``, or to the border of the image.
            keep: what is wanted; both begin and end with a square, or with the image.

        Yields:
            Boxes that cover ``keep`` once, and the enlargement of each.

        Raises:
            InvalidInput: ``memory`` does not hold a pixel with its halo.
            RequestCancelled: between two chunks, if nobody waits for the result any more.
        """
        side, scale = self.parts.fold, self.parts.scale
        have, keep = have.folded(side), keep.folded(side)
        # Nothing here keeps the folded image: it goes when the first map is there.
        x, have = self._through(
            self.parts.trunk, fold(x, side), have, keep, self.parts.enlarge.reach
        )
        for folded, piece in self._chunks(self.parts.enlarge, x, have, keep):
            box = folded.unfolded(side, self.image)
            yield box, piece[:, :, : scale * box.height, : scale * box.width]

    def _through(
        self, steps: Sequence[Step], x: Tensor, have: Box, keep: Box, after: int | None
    ) -> tuple[Tensor, Box]:
        """What the steps make of x, as far around ``keep`` as the reach of what comes after."""
        for number, step in enumerate(steps, start=1):
            reach = _total(_reach(steps[number:]), after)
            wanted = around(keep, reach, self._image)
            if isinstance(step, Part):
                y = self._map(step, x, have, wanted)
            else:
                y, wanted = self._through(step.parts, x, have, keep, reach)
                y = torch.add(crop(x, have, wanted), y, alpha=step.factor, out=y)
            if number > 1:
                self._free.append(x)
            x, have = y, wanted
        return x, have

    def _map(self, part: Part, x: Tensor, have: Box, wanted: Box) -> Tensor:
        """A part's result on an area, in memory that an earlier map has left."""
        result = None
        for box, y in self._chunks(part, x, have, wanted):
            if box == wanted:
                self._free.clear()  # a map of its own needs none of them, nor will the next ones
                return y.to(x.dtype)
            if result is None:
                shape = (1, part.channels, wanted.height, wanted.width)
                result = self._free.pop() if self._free else x.new_empty(0)
                layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
                result = result.resize_(shape, memory_format=layout)
            crop(result, wanted, box).copy_(y)
        return x if result is None else result  # an area has at least one chunk

    def _chunks(
        self, part: Part, x: Tensor, have: Box, wanted: Box
    ) -> Iterator[tuple[Box, Tensor]]:
        if part.reach is None:
            yield wanted, crop(part.compute(x), have, wanted, part.scale)
            return
        rows, columns = shape_of_tiles(wanted, self._image, self._pixels(part), part.reach)
        if self.tile is not None:
            longest = max(self.tile // self.parts.fold, 1)
            rows, columns = min(rows, longest), min(columns, longest)
        tiles = plan(wanted, self._image, rows, columns, part.reach)

        def compute(tile: Tile) -> tuple[Box, Tensor]:
            y = part.compute(crop(x, have, tile.read))
            return tile.keep, crop(y, tile.read, tile.keep, part.scale)

        if self.workers is None or len(tiles) == 1:
            for tile in tiles:
                cancellation.check()
                yield compute(tile)
        else:
            yield from self.workers.map(compute, tiles)

    def _pixels(self, part: Part) -> int:
        """How many pixels a part is given at a time, halo included."""
        reach = part.reach or 0
        least, comfortable = (2 * reach + 1) ** 2, ((_LEAST_SIDE + 2) * reach) ** 2
        at_once = self.workers.count if self.workers else 1
        allowed = self.memory // at_once // part.bytes_per_pixel
        if allowed < least:
            raise InvalidInput(
                f"{self.memory / 2**20:g} MiB do not hold one tile of this network; it needs "
                f"{math.ceil(least * part.bytes_per_pixel / 2**20)} MiB",
                field="memory",
            )
        if not self.cached:
            return allowed
        return min(allowed, max(_CHUNK_BYTES // part.bytes_per_pixel, comfortable))


def fold(x: Tensor, side: int) -> Tensor:
    """Make each square of ``side`` x ``side`` pixels the channels of one.

    Args:
        x: ``(N, C, H, W)``; where ``side`` does not divide it, its last pixels are repeated at the
            right and at the bottom.
        side: 1 changes nothing.

    Returns:
        ``(N, side ** 2 * C, ceil(H / side), ceil(W / side))``, in the memory format of ``x``.
    """
    if side == 1:
        return x
    height, width = x.shape[2:]
    layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
    whole = F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")
    return F.pixel_unshuffle(whole, side).contiguous(memory_format=layout)


def _flat(steps: Sequence[Step]) -> Iterator[Part]:
    for step in steps:
        yield from (step,) if isinstance(step, Part) else _flat(step.parts)


def _depth(steps: Sequence[Step]) -> int:
    """How many residuals are open at a time."""
    return max((1 + _depth(step.parts) for step in steps if isinstance(step, Residual)), default=0)


def _reach(steps: Sequence[Step]) -> int | None:
    return _total(*(part.reach for part in _flat(steps)))


def _total(*reaches: int | None) -> int | None:
    known = [reach for reach in reaches if reach is not None]
    return sum(known) if len(known) == len(reaches) else None
