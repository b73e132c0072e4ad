"""A generator as a sequence of parts, each of which sees a little further than a pixel.

A network of 36 convolutions depends on 36 pixels around each pixel, so that tiles through all of it
carry wide halos. Its parts (a residual block, the up-sampler) depend on two or three each. Between
parts the feature maps of a whole tile are kept, and each part goes over them in chunks that stay in
the cache and in memory which the allocator already has: a halo of a few pixels is all that is
computed twice, and the large maps behind the last shuffle never exist as a whole.

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
    """A whole generator: what happens at the LR resolution, and the part that leaves it."""

    trunk: tuple[Step, ...]
    enlarge: Part

    @property
    def reach(self) -> int | None:
        """How many LR pixels to each side of a pixel the result depends on; None: on all."""
        return _total(_reach(self.trunk), self.enlarge.reach)

    @property
    def map_bytes(self) -> int:
        """What is kept per pixel between parts in float32: maps read, written, and of residuals."""
        channels = max((part.channels for part in _flat(self.trunk)), default=0)
        return 4 * channels * (2 + _depth(self.trunk)) if channels else 0

    def flat(self) -> list[Part]:
        """Every part, in the order of computation."""
        return [*_flat(self.trunk), self.enlarge]


@dataclass
class Run:
    """One way of an area of an image through a generator.

    Attributes:
        parts: of the generator.
        image: the whole image, in whose coordinates all boxes are.
        memory: bytes that one part may hold at a time.
        tile: longest side of a chunk, if there is such a limit.
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

    def pieces(self, x: Tensor, have: Box, keep: Box) -> Iterator[tuple[Box, Tensor]]:
        """The enlargement of an area, one piece at a time.

        Args:
            x: ``(1, 3, H, W)``, the area ``have`` of the image.
            have: goes `Parts.reach` beyond ``keep``, or to the border of the image.
            keep: what is wanted.

        Yields:
            Boxes that cover ``keep`` once, and the enlargement of each.

        Raises:
            InvalidInput: ``memory`` does not hold a pixel with its halo.
            RequestCancelled: between two chunks, if nobody waits for the result any more.
        """
        x, have = self._through(self.parts.trunk, x, have, keep, self.parts.enlarge.reach)
        yield from self._chunks(self.parts.enlarge, x, have, keep)

    def _through(
        self, steps: Sequence[Step], x: Tensor, have: Box, keep: Box, after: int | None
    ) -> tuple[Tensor, Box]:
        """What the steps make of x, as far around ``keep`` as the reach of what comes after."""
        given = x
        for number, step in enumerate(steps, start=1):
            reach = _total(_reach(steps[number:]), after)
            wanted = around(keep, reach, self.image)
            if isinstance(step, Part):
                y = self._map(step, x, have, wanted)
            else:
                y, wanted = self._through(step.parts, x, have, keep, reach)
                y = torch.add(crop(x, have, wanted), y, alpha=step.factor, out=y)
            if x is not given:
                self._free.append(x)
            x, have = y, wanted
        return x, have

    def _map(self, part: Part, x: Tensor, have: Box, wanted: Box) -> Tensor:
        """A part's result on an area, in memory that an earlier map has left."""
        result = None
        for box, y in self._chunks(part, x, have, wanted):
            if box == wanted:
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
        rows, columns = shape_of_tiles(wanted, self.image, self._pixels(part), part.reach)
        if self.tile is not None:
            rows, columns = min(rows, self.tile), min(columns, self.tile)
        tiles = plan(wanted, self.image, rows, columns, part.reach)

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
