"""Training crops from a folder of HR images.

The LR image is made from the whole HR image by MATLAB's bicubic on 8-bit pixels: what a deployed
generator will be given. (The published training used an LR that was never rounded, the published
tests one that was.) Crops are cut on the LR grid, so that a crop's LR has seen the pixels around
it, as in a whole image.

Sample k of a run is a function of the seed and k alone, so a resumed run needs no state of a
random number generator and may use another number of threads.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidInput
from ranksrgan.contracts.images import list_images, read_image, to_tensor
from ranksrgan.metrics import imresize_uint8
from ranksrgan.srgan.config import TrainConfig


class Photograph(NamedTuple):
    """An HR image and the LR image made from it."""

    name: str  # of the file
    hr: Tensor  # (3, scale * h, scale * w) uint8
    lr: Tensor  # (3, h, w) uint8


class Batch(NamedTuple):
    """Aligned crops."""

    lr: Tensor  # (N, 3, crop / scale, crop / scale) uint8
    hr: Tensor  # (N, 3, crop, crop) uint8


def read_photograph(path: Path, scale: int) -> Photograph:
    """Read an HR image and make its LR image.

    Grey becomes RGB, 16 bits become 8, transparency is left out; rows and columns that do not fill
    an LR pixel are cut off at the bottom and the right.

    Raises:
        InvalidImage: unreadable.
        InvalidDataset: smaller than one LR pixel.
    """
    hr = _read_hr(path, scale)
    return Photograph(path.name, hr, imresize_uint8(hr, 1 / scale))


def _read_hr(path: Path, scale: int) -> Tensor:
    pixels = to_tensor(read_image(path))[0]
    if pixels.dtype != torch.uint8:
        pixels = (pixels * 255).round().byte()
    height, width = (side - side % scale for side in pixels.shape[1:])
    if not height or not width:
        raise InvalidDataset(f"{path} is smaller than one LR pixel", field=str(path))
    return pixels[:, :height, :width].expand(3, -1, -1).contiguous()


class CropSource:
    """Random crops of all images of a folder, each image once an epoch.

    Every image is read at the start, so that a damaged one stops the run before it has begun. The
    LR images stay in memory; HR images do until ``memory_mib`` are used and are read again when
    needed beyond that.

    Args:
        folder: HR images.
        scale: HR side over LR side.
        crop: side of the HR crops, a multiple of ``scale``.
        batch: crops in a batch.
        flip: mirror half of the crops.
        rotate: turn half of them upside down and transpose half of them.
        seed: decides every sample.
        memory_mib: for decoded images.
        workers: threads that read images and prepare batches.
        shard: rank and count of the processes that share each batch; this one gets its slice of it.

    Raises:
        InvalidInput: no such folder, or no image in it; a batch that the processes cannot share
            equally.
        InvalidImage: an image that cannot be read.
        InvalidDataset: an image smaller than a crop.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: int,
        crop: int,
        batch: int,
        flip: bool,
        rotate: bool,
        seed: int,
        memory_mib: int,
        workers: int,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self._rank, count = shard
        if batch % count:
            raise InvalidInput(
                f"data.batch is {batch}; {count} processes cannot share that equally",
                field="data.batch",
            )
        self._share = batch // count
        self._scale = scale
        self._crop = crop
        self._batch = batch
        self._flip = flip
        self._rotate = rotate
        self._seed = seed
        self._workers = workers
        self._paths = list_images(folder)
        self._lr: list[Tensor] = []
        self._hr: list[Tensor | None] = []
        digest = hashlib.sha256()
        free = memory_mib * 2**20
        with ThreadPoolExecutor(workers) as pool:
            for path, photograph in zip(
                self._paths,
                pool.map(lambda path: read_photograph(path, scale), self._paths),
                strict=True,
            ):
                _, height, width = photograph.hr.shape
                if min(height, width) < crop:
                    raise InvalidDataset(
                        f"{path} is {width} x {height}; crops of {crop} pixels do not fit",
                        field=str(path),
                    )
                digest.update(f"{path.name} {tuple(photograph.hr.shape)};".encode())
                digest.update(photograph.hr.numpy().tobytes())
                free -= photograph.lr.numel() + photograph.hr.numel()
                self._lr.append(photograph.lr)
                self._hr.append(photograph.hr if free >= 0 else None)
                if free < 0:
                    free += photograph.hr.numel()
        #: sha256 in hex of the images, so that a resumed run can tell that it reads the same.
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._paths)

    def sample(self, k: int) -> tuple[Tensor, Tensor]:
        """LR and HR crop number ``k``, from 0: ``(3, c, c)`` and ``(3, crop, crop)`` uint8."""
        epoch, place = divmod(k, len(self._paths))
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._paths))
        index = int(order[place])
        lr, side = self._lr[index], self._crop // self._scale
        random = np.random.default_rng([self._seed, 1, k])
        top = int(random.integers(lr.shape[1] - side + 1))
        left = int(random.integers(lr.shape[2] - side + 1))
        mirror, turn, transpose = (bool(toss) for toss in random.integers(2, size=3))
        hr = self._hr[index]
        if hr is None:
            hr = _read_hr(self._paths[index], self._scale)
        return tuple(  # type: ignore[return-value]
            self._augment(
                image[:, f * top : f * (top + side), f * left : f * (left + side)],
                mirror and self._flip,
                turn and self._rotate,
                transpose and self._rotate,
            )
            for image, f in ((lr, 1), (hr, self._scale))
        )

    @staticmethod
    def _augment(crop: Tensor, mirror: bool, turn: bool, transpose: bool) -> Tensor:
        axes = [axis for axis, wanted in ((1, turn), (2, mirror)) if wanted]
        crop = crop.flip(axes) if axes else crop
        return crop.transpose(1, 2) if transpose else crop

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 1."""
        first = (step - 1) * self._batch + self._rank * self._share
        lr, hr = zip(*(self.sample(k) for k in range(first, first + self._share)), strict=True)
        return Batch(torch.stack(lr), torch.stack(hr))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of the steps ``first`` to ``last``, prepared ahead by threads.

        An error of a thread is raised where its batch is due. Close the iterator to end the threads
        early.
        """
        steps = iter(range(first, last + 1))
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="crops")
        try:
            pending = deque(
                pool.submit(self.batch, step) for step in islice(steps, 2 * self._workers)
            )
            while pending:
                batch = pending.popleft().result()
                pending.extend(pool.submit(self.batch, step) for step in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def open_crops(config: TrainConfig, shard: tuple[int, int] = (0, 1)) -> CropSource:
    """The crops of a training; see `CropSource` for ``shard`` and for what is raised.

    Raises:
        InvalidConfig: ``data.hr`` is not given.
    """
    data = config.data
    if data.hr is None:
        raise InvalidConfig("data.hr names no folder of HR images (--hr)", field="data.hr")
    return CropSource(
        data.hr,
        scale=config.generator.scale,
        crop=data.crop,
        batch=data.batch,
        flip=data.flip,
        rotate=data.rotate,
        seed=config.run.seed,
        memory_mib=data.memory_mib,
        workers=data.workers,
        shard=shard,
    )
