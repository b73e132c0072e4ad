"""Training crops, cut from HR images and from LR images that are given or made.

Where LR is made by MATLAB's bicubic it is what a crop of the whole reduced image would be, to the
bit: the HR crop is reduced with two LR pixels around it, as far as the kernel reaches, and these
are cut off. It has 8 bits, as a deployed generator will be given, unless ``data.round`` is false:
the published training used an LR that was never rounded, the published tests one that was.

Sample k of a run is a function of the seed and k alone, so a resumed run needs no state of a
random number generator, may use another number of threads, and several processes may share the
samples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidInput
from ranksrgan.metrics import imresize, imresize_uint8
from ranksrgan.srgan.config import DataConfig, TrainConfig
from ranksrgan.srgan.data.ahead import in_order
from ranksrgan.srgan.data.degradation import RealScene, SecondOrder, degrade, draw
from ranksrgan.srgan.data.image_store import FolderImages, ImageStore, fingerprint, read_rgb
from ranksrgan.srgan.data.packed_images import PackedImages, is_pack
from ranksrgan.srgan.data.paired_images import divided, match_pairs
from ranksrgan.srgan.data.real_scene import BICUBIC_HALO, Scene

# LR pixels on each side of a crop that its LR depends on for the second order, whose filters reach
# ten pixels of images that may be shrunk by then: what lies beyond is mirrored, one more
# degradation. A JPEG block's side comes on top, shared out at random between the two sides, so that
# a crop lies anywhere in the grid of blocks.
_SECOND_ORDER_HALO = 6
_JPEG_BLOCK = 8


class Photograph(NamedTuple):
    """An HR image and the LR image made from it."""

    name: str  # of the file
    hr: Tensor  # (3, scale * h, scale * w) uint8
    lr: Tensor  # (3, h, w) uint8


class Batch(NamedTuple):
    """Aligned crops."""

    lr: Tensor  # (N, 3, crop / scale, crop / scale) uint8, or float32 about [0, 255]
    hr: Tensor  # (N, 3, crop, crop) uint8


def read_photograph(path: Path, scale: int) -> Photograph:
    """Read an HR image and make its LR image.

    Grey becomes RGB, 16 bits become 8, transparency is left out; rows and columns that do not fill
    an LR pixel are cut off at the bottom and the right.

    Raises:
        InvalidImage: unreadable.
        InvalidDataset: smaller than one LR pixel.
    """
    pixels = read_rgb(path).permute(2, 0, 1)
    height, width = (side - side % scale for side in pixels.shape[1:])
    if not height or not width:
        raise InvalidDataset(f"{path} is smaller than one LR pixel", field=str(path))
    hr = pixels[:, :height, :width].contiguous()
    return Photograph(path.name, hr, imresize_uint8(hr, 1 / scale))


class Orientation(NamedTuple):
    """One of the eight ways to lay a square down."""

    mirror: bool
    turn: bool  # upside down
    transpose: bool

    def apply(self, image: Tensor) -> Tensor:
        """``(3, H, W)``: turned and mirrored, then transposed."""
        image = self._flip(image)
        return image.transpose(1, 2) if self.transpose else image

    def undo(self, image: Tensor) -> Tensor:
        """What `apply` was given."""
        return self._flip(image.transpose(1, 2) if self.transpose else image)

    def _flip(self, image: Tensor) -> Tensor:
        axes = [axis for axis, wanted in ((1, self.turn), (2, self.mirror)) if wanted]
        return image.flip(axes) if axes else image


class Place(NamedTuple):
    """Where sample ``number`` is cut from."""

    number: int
    image: int
    top: int  # in LR pixels
    left: int
    orientation: Orientation


class CropSource:
    """Random crops of all images, each image once an epoch.

    Args:
        data: which images, folders of files or packs, and how crops are cut and prepared. ``lr``
            may be the folder of ``hr`` if names tell which are which, see `divided`. Decoded images
            of a folder beyond ``memory_mib`` are read again when needed; those of a pack take none.
        scale: HR side over LR side; it divides ``data.crop``.
        seed: decides every sample.
        shard: rank and count of the processes that share each batch; this one gets its slice of it.

    Raises:
        InvalidConfig: ``data.hr`` is not given.
        InvalidInput: no such folder, or no image in it; a batch that the processes cannot share
            equally.
        InvalidImage: an image that cannot be read.
        InvalidDataset: an image smaller than a crop, LR and HR images that do not match, or a
            damaged pack.
        NotSupported: a pack, and the package ``lmdb`` is not installed.
    """

    def __init__(
        self, data: DataConfig, *, scale: int, seed: int, shard: tuple[int, int] = (0, 1)
    ) -> None:
        if data.hr is None:
            raise InvalidConfig("data.hr names no folder of HR images (--hr)", field="data.hr")
        self._data = data
        self._scale = scale
        self._side = data.crop // scale  # of the LR crops
        self._seed = seed
        self._rank, count = shard
        if not 0 <= self._rank < count:
            raise InvalidInput(f"shard {shard}: the rank lies below the count", field="shard")
        if data.batch % count:
            raise InvalidInput(
                f"data.batch is {data.batch}; {count} processes cannot share that equally",
                field="data.batch",
            )
        self._share = data.batch // count

        self._lr: ImageStore | None = None
        free = data.memory_mib * 2**20
        self._hr: ImageStore
        if data.lr is not None and data.lr == data.hr:
            self._hr, self._lr = divided(_open_images(data.hr, free, data.workers), scale)
        else:
            if data.lr is not None:
                self._lr = _open_images(data.lr, free, data.workers)
                free -= self._lr.kept_bytes
            self._hr = _open_images(data.hr, free, data.workers)
        self._scene: Scene | None = None
        if isinstance(data.degradation, RealScene):
            self._scene = Scene(data.degradation, scale, data.workers)
        self._partners = match_pairs(self._lr, self._hr, scale) if self._lr else []
        #: Sizes of the LR images, given or not.
        self._sizes = [(e.height // scale, e.width // scale) for e in self._hr.entries]
        for entry, size in zip(self._hr.entries, self._sizes, strict=True):
            if min(size) < self._side:
                path = self._hr.folder / entry.name
                raise InvalidDataset(
                    f"{path} is {entry.width} x {entry.height}; crops of {data.crop} pixels "
                    "do not fit: leave it out, or set a smaller data.crop",
                    field=str(path),
                )
        #: sha256 in hex of the images, and of noise and kernels, so that a resumed run can tell
        #: that it reads the same.
        self.fingerprint = " ".join(
            fingerprint(images.entries) for images in (self._hr, self._lr) if images is not None
        )
        if self._scene is not None:
            self.fingerprint = f"{self.fingerprint} {self._scene.fingerprint}".rstrip()

    def __len__(self) -> int:
        return len(self._sizes)

    def sample(self, k: int) -> tuple[Tensor, Tensor]:
        """LR and HR crop number ``k``, from 0: ``(3, c, c)`` and ``(3, crop, crop)`` uint8.

        An LR that is not rounded is float32 in units of 8 bits.

        Raises:
            InvalidImage, InvalidDataset: an image is no longer what it was at the start.
        """
        place = self._place(k)
        if self._scene is not None:
            lr, hr = self._in_scene(self._scene, place)
        elif self._lr is not None:
            lr, hr = self._given(self._lr, place)
        elif isinstance(self._data.degradation, SecondOrder):
            lr, hr = self._degraded(self._data.degradation, place)
        else:
            lr, hr = self._reduced(place)
        return place.orientation.apply(lr), place.orientation.apply(hr)

    def batch(self, step: int) -> Batch:
        """This process's slice of the batch of a step, counted from 1."""
        first = (step - 1) * self._data.batch + self._rank * self._share
        lr, hr = zip(*(self.sample(k) for k in range(first, first + self._share)), strict=True)
        return Batch(torch.stack(lr), torch.stack(hr))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of the steps ``first`` to ``last``, prepared ahead by threads.

        An error of a thread is raised where its batch is due. Close the iterator to end the threads
        early.
        """
        return in_order(self.batch, range(first, last + 1), self._data.workers)

    def _place(self, k: int) -> Place:
        epoch, turn = divmod(k, len(self))
        image = int(_order(self._seed, epoch, len(self))[turn])
        random = np.random.default_rng([self._seed, 1, k])
        top, left = (int(random.integers(length - self._side + 1)) for length in self._sizes[image])
        mirror, upside_down, transpose = (bool(toss) for toss in random.integers(2, size=3))
        orientation = Orientation(
            mirror and self._data.flip,
            upside_down and self._data.rotate,
            transpose and self._data.rotate,
        )
        return Place(k, image, top, left, orientation)

    def _given(self, images: ImageStore, place: Place) -> tuple[Tensor, Tensor]:
        side = self._side
        lr = images.window(self._partners[place.image], place.top, place.left, side, side)
        return lr, self._around(place, 0, 0)[0]

    def _reduced(self, place: Place) -> tuple[Tensor, Tensor]:
        window, top, left = self._around(place, BICUBIC_HALO, BICUBIC_HALO)
        if self._data.round:
            lr = imresize_uint8(window, 1 / self._scale)
        else:
            lr = imresize(window.to(torch.float32), 1 / self._scale)
        return self._middle(lr, window, top, left)

    def _in_scene(self, scene: Scene, place: Place) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng([self._seed, 3, place.number])
        if self._lr is not None:
            lr, hr = self._given(self._lr, place)
        else:
            window, top, left = self._around(place, scene.halo, scene.halo)
            lr, hr = self._middle(scene.reduce(window, random), window, top, left)
        # The noise lies as it does in its own photograph, however the crop is laid down.
        seen = scene.add_noise(place.orientation.apply(lr), random)
        return place.orientation.undo(seen), hr

    def _degraded(self, ranges: SecondOrder, place: Place) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng([self._seed, 2, place.number])
        before = _SECOND_ORDER_HALO + int(random.integers(_JPEG_BLOCK))
        after = 2 * _SECOND_ORDER_HALO + _JPEG_BLOCK - 1 - before
        window, top, left = self._around(place, before, after)
        # What a camera did, it did to the scene as it stood: the photograph is not mirrored later.
        seen = place.orientation.apply(window)
        lr = place.orientation.undo(degrade(seen, self._scale, draw(ranges, random), random))
        return self._middle(lr, window, top, left)

    def _around(self, place: Place, before: int, after: int) -> tuple[Tensor, int, int]:
        """An HR crop with so many LR pixels around it, fewer at the edges of the image.

        Returns:
            The window, and where in it the crop begins, in LR pixels.
        """
        height, width = self._sizes[place.image]
        top, left = max(0, place.top - before), max(0, place.left - before)
        bottom = min(height, place.top + self._side + after)
        right = min(width, place.left + self._side + after)
        window = self._hr.window(
            place.image, *(self._scale * n for n in (top, left, bottom - top, right - left))
        )
        return window, place.top - top, place.left - left

    def _middle(self, lr: Tensor, hr: Tensor, top: int, left: int) -> tuple[Tensor, Tensor]:
        """The crop out of two windows."""
        cut = [
            image[:, f * top : f * (top + self._side), f * left : f * (left + self._side)]
            for image, f in ((lr, 1), (hr, self._scale))
        ]
        return cut[0], cut[1]


def open_crops(config: TrainConfig, shard: tuple[int, int] = (0, 1)) -> CropSource:
    """The crops of a training; see `CropSource` for ``shard`` and for what is raised."""
    return CropSource(config.data, scale=config.generator.scale, seed=config.run.seed, shard=shard)


def _open_images(folder: Path, memory_bytes: int, workers: int) -> ImageStore:
    return PackedImages(folder) if is_pack(folder) else FolderImages(folder, memory_bytes, workers)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """In which order an epoch goes through the images."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)
