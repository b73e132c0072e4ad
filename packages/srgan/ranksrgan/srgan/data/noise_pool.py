"""Noise of real photographs: flat patches of them, parts of which are added to LR images.

Ji et al., "Real-World Super-Resolution via Kernel Estimation and Noise Injection", CVPR Workshops
2020, section 3.2, with the numbers of RWSR-EDL for NTIRE 2020: where the grey values of a patch
hardly vary there was nothing to be seen, and what is left is the camera's noise.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import Picture, list_images, write_image
from ranksrgan.srgan.data.ahead import in_order
from ranksrgan.srgan.data.image_store import read_rgb

Pixels = npt.NDArray[np.uint8]


class Flat(NamedTuple):
    """Which patches of a photograph are flat.

    Attributes:
        patch: side in pixels; patches do not overlap.
        variance: of the grey values 0..255, which is to be below it.
        mean: of the same, which is to be above it: black shows no noise.
    """

    patch: int = 256
    variance: float = 20.0
    mean: float = 0.0

    def patches(self, photograph: Pixels) -> Iterator[Pixels]:
        """The flat patches of ``(H, W, 3)`` uint8, row by row, each ``(patch, patch, 3)``.

        The grid starts at the top left, and includes patches that end with the photograph, which
        the published code leaves out.
        """
        height, width, _ = photograph.shape
        side = self.patch
        for top in range(0, height - side + 1, side):
            for left in range(0, width - side + 1, side):
                found = photograph[top : top + side, left : left + side]
                grey = _grey(found)
                if grey.var() < self.variance and grey.mean() > self.mean:
                    yield found.copy()


class NoisePool:
    """Flat patches to draw noise from.

    Args:
        patches: at least one, ``(n, n, 3)`` uint8, RGB.
        window: side of the parts that are drawn, at most n; a larger image gets several.

    Attributes:
        fingerprint: sha256 in hex of all patches.
    """

    def __init__(self, patches: Sequence[Pixels], window: int = 32) -> None:
        side = min(min(patch.shape[:2]) for patch in patches)
        if not 1 <= window <= side:
            raise InvalidInput(
                f"window is {window}; the patches of the pool are {side} pixels wide",
                field="data.degradation.window",
            )
        self._patches = tuple(patches)
        self._window = window
        digest = hashlib.sha256()
        for patch in patches:
            digest.update(np.ascontiguousarray(patch).data)
        self.fingerprint = digest.hexdigest()

    @classmethod
    def collect(cls, folder: Path, flat: Flat, window: int, workers: int) -> NoisePool:
        """The flat patches of all photographs of a folder, by name; or of one made by `save_pool`.

        Raises:
            InvalidInput: no such folder, no image in it, or a window larger than the patches.
            InvalidImage, ImageTooLarge: an image that cannot be read.
            InvalidDataset: no patch is flat.
        """
        return cls([patch for _, patch in flat_patches(folder, flat, workers)], window)

    def __len__(self) -> int:
        return len(self._patches)

    def draw(self, height: int, width: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
        """``(height, width, 3)`` noise on 0..255.

        Of each window of the size of `window`, fewer at the right and the bottom, the mean of each
        channel is 0.
        """
        noise = np.empty((height, width, 3))
        for top in range(0, height, self._window):
            for left in range(0, width, self._window):
                rows = min(self._window, height - top)
                columns = min(self._window, width - left)
                patch = self._patches[random.integers(len(self._patches))]
                y = random.integers(patch.shape[0] - rows + 1)
                x = random.integers(patch.shape[1] - columns + 1)
                part = patch[y : y + rows, x : x + columns].astype(np.float64)
                noise[top : top + rows, left : left + columns] = part - part.mean(axis=(0, 1))
        return noise

    def add(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """``(3, h, w)`` uint8 with noise, clamped and rounded to 8 bits."""
        _, height, width = image.shape
        noise = torch.from_numpy(self.draw(height, width, random)).permute(2, 0, 1)
        return (image + noise).clamp(0, 255).round().byte()


def flat_patches(folder: Path, flat: Flat, workers: int) -> list[tuple[str, Pixels]]:
    """Each flat patch with the name of its photograph, suffix left out; raises as `collect`."""
    return list(_found(folder, flat, workers))


def _found(folder: Path, flat: Flat, workers: int) -> Generator[tuple[str, Pixels], None, None]:
    """The same one by one, while further photographs are read."""
    paths = list_images(folder)

    def read(path: Path) -> list[tuple[str, Pixels]]:
        return [(path.stem, patch) for patch in flat.patches(read_rgb(path).numpy())]

    none = True
    with closing(in_order(read, paths, workers)) as found:
        for of_one in found:
            none = none and not of_one
            yield from of_one
    if none:
        raise InvalidDataset(
            f"{folder}: none of its {len(paths)} images has a patch of {flat.patch} pixels whose "
            f"grey values vary by less than {flat.variance:g} around more than {flat.mean:g}: "
            "more are flat with a higher variance, or a smaller patch",
            field=str(folder),
        )


def save_pool(folder: Path, output: Path, flat: Flat, workers: int) -> int:
    """Write the flat patches of a folder of photographs as PNG files, all or none, and count them.

    The folder that they are in is a pool itself: `NoisePool.collect` finds them all.

    Raises:
        InvalidInput: see `NoisePool.collect`; or ``output`` holds something already, or is a mount
            point.
        InvalidImage, ImageTooLarge, InvalidDataset: see `NoisePool.collect`.
        DiskFull: no room.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInput(
            f"{output} holds something already: name another folder", field=str(output)
        )
    target = output.resolve()  # a link stays one
    if os.path.ismount(target):
        raise InvalidInput(
            f"{output} is a mount point, which the finished pool could not take the place of: name "
            "a folder in it",
            field=str(output),
        )
    unfinished = target.parent / f".{target.name}-{secrets.token_hex(4)}"
    count = 0
    try:
        with closing(_found(folder, flat, workers)) as patches:
            for count, (name, patch) in enumerate(patches, start=1):
                write_image(unfinished / f"{name}_{count - 1:06}.png", Picture(patch))
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return count


def _grey(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Luma of ITU-R BT.601 rounded to 8 bits, in the whole numbers that Pillow's ``L`` has."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    return np.asarray((pixels @ weights + 0x8000) >> 16, np.uint8)
