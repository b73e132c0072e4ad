"""How an image is cut so that a generator's work on it fits into memory."""

from __future__ import annotations

import math

from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput
from ranksrgan.srgan.generators.parts import Part, Parts, Run
from ranksrgan.srgan.upscaling.tiling import Box, Tile, plan, shape_of_tiles
from ranksrgan.srgan.upscaling.workers import workers

# A strip of the result takes at most this share of the memory.
_STRIP = 4

# Tiles with their halos have at most so many times the pixels of the image: beyond, the same memory
# would be used for hours where a little more of it makes minutes.
_MOST_READ = 25


class Layout:
    """Divides memory between what a tile keeps and what is computed at a time: a half for each.

    A generator of a single part keeps nothing; its tile is what is computed at a time.

    Args:
        parts: of the generator.
        memory: bytes for both.
        tile: longest side of a tile, without its halo; bounds what ``memory`` allows.
        name: of the generator, for messages.
        on_cpu: chunks are small enough for its cache, and each thread computes one where
            ``memory`` holds that many. A GPU is given as much at a time as ``memory`` holds.

    Raises:
        InvalidInput: ``memory`` does not hold what one part makes of a pixel and those around it;
            names the least that works. Whether it holds the maps of an image, or of a tile of one,
            depends on the image: see `tiles`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        memory: int,
        tile: int | None,
        name: str,
        on_cpu: bool,
    ) -> None:
        self._parts = parts
        self._memory = memory
        self._tile = tile
        self._name = name
        least = max(map(self._least, parts.flat()))
        self._on_cpu = on_cpu
        threads = workers() if on_cpu else None
        enough = threads is not None and threads.count * least <= self._at_a_time
        self._workers = threads if enough else None
        needed = least * (2 if parts.trunk else 1)
        if needed > memory:
            raise InvalidInput(
                f"{memory / 2**20:.3g} MiB do not hold one tile of this network; it needs "
                f"{math.ceil(needed / 2**20)} MiB or more",
                field="memory",
            )

    def run(self, parts: Parts, image: Box) -> Run:
        """A way through the generator, or its twin of another precision."""
        return Run(
            parts,
            image,
            memory=self._at_a_time,
            tile=self._tile,
            cached=self._on_cpu,
            workers=self._workers,
        )

    def tiles(self, height: int, width: int, *, strips: bool = False) -> list[Tile]:
        """The tiles of an image, row by row.

        Args:
            height: of the image.
            width: of the image.
            strips: whether the result of a row of tiles must fit into memory, too.

        Raises:
            ImageTooLarge: neither the image fits into memory nor a tile of it with all that it
                depends on, which is the image if the generator must see it as a whole; or tiles
                would be so small that nearly all of the work is for what they depend on, unless
                ``tile`` was given.
        """
        whole, side = Box(0, 0, height, width), self._parts.fold
        image = whole.folded(side)  # what the parts see
        reach = self._parts.reach
        if reach is None:
            self._check_whole(whole, image)
            return [Tile(whole, whole)]
        pixels = self._at_a_time // (self._parts.map_bytes or self._parts.enlarge.bytes_per_pixel)
        rows, columns = shape_of_tiles(image, image, pixels, reach)
        if rows == 0:
            raise self._no_tile(whole, image, reach)
        if strips:
            row_bytes = 3 * 4 * image.width * self._parts.enlarge.scale**2
            allowed = max(self._memory // _STRIP // row_bytes, 1)
            if rows > allowed:
                rows = allowed
                columns = max(columns, pixels // (rows + 2 * reach) - 2 * reach)
        if self._tile is not None:
            longest = max(self._tile // side, 1)
            rows, columns = min(rows, longest), min(columns, longest)
        tiles = plan(image, image, rows, columns, reach)
        read = sum(tile.read.height * tile.read.width for tile in tiles)
        if self._tile is None and read > _MOST_READ * image.height * image.width:
            raise self._too_much(whole, image, read)
        return [
            Tile(tile.read.unfolded(side, whole), tile.keep.unfolded(side, whole)) for tile in tiles
        ]

    @property
    def _at_a_time(self) -> int:
        return self._memory // 2 if self._parts.trunk else self._memory

    def _least(self, part: Part) -> int:
        return (2 * (part.reach or 0) + 1) ** 2 * part.bytes_per_pixel

    def _check_whole(self, whole: Box, image: Box) -> None:
        parts = [part.bytes_per_pixel for part in self._parts.flat() if part.reach is None]
        needed = image.height * image.width * (max(parts) + self._parts.map_bytes)
        if needed > self._memory:
            raise ImageTooLarge(
                f"{self._name} must see an image as a whole and cannot be tiled: {whole.width} x "
                f"{whole.height} pixels need memory={math.ceil(needed / 2**20)} (MiB), and "
                f"{self._memory / 2**20:g} are allowed",
                field="images",
            )

    def _too_much(self, whole: Box, image: Box, read: int) -> ImageTooLarge:
        pixels = image.height * image.width
        needed = 2 * pixels * (self._parts.map_bytes or self._parts.enlarge.bytes_per_pixel)
        return ImageTooLarge(
            f"in {self._memory / 2**20:g} MiB {self._name} would read each of {whole.width} x "
            f"{whole.height} pixels {read / pixels:.0f} times, as its tiles are small beside what "
            f"they depend on; memory={math.ceil(needed / 2**20)} (MiB) hold the image as one tile",
            field="images",
        )

    def _no_tile(self, whole: Box, image: Box, reach: int) -> ImageTooLarge:
        longest = 2 * reach + 1
        pixels = min(image.height, longest) * min(image.width, longest)
        needed = 2 * pixels * self._parts.map_bytes  # which have half of the memory
        return ImageTooLarge(
            f"{self._memory / 2**20:g} MiB hold neither the maps of {whole.width} x {whole.height} "
            f"pixels nor one tile of them: a pixel depends on {reach * self._parts.fold} to each "
            f"side in {self._name}; it needs memory={math.ceil(needed / 2**20)} (MiB)",
            field="images",
        )
