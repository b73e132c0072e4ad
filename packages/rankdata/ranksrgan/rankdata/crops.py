"""CropReader of level images, cut from the dataset's PNGs when they are wanted."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.images import read_image, to_tensor
from ranksrgan.rankdata.dataset import Content, RankDataset

DEFAULT_CACHE_BYTES = 512 * 2**20


class CropReader(Protocol):
    """Where the pixels of a dataset come from: `LevelImages`, or `packed_images.PackedImages`."""

    def pixels(self, level: str, content: Content) -> Tensor:
        """``(3, height, width)`` uint8, which nobody else writes to."""
        ...

    def crop(self, level: str, content: Content) -> Tensor:
        """The same as float32 in [0, 1]."""
        ...


class LevelImages:
    """CropReader of level images; the images are decoded once and kept while there is room.

    Args:
        dataset: whose images.
        capacity: bytes of decoded images; the one that was used longest ago goes first.
    """

    def __init__(self, dataset: RankDataset, capacity: int = DEFAULT_CACHE_BYTES) -> None:
        self._dataset = dataset
        self._capacity = capacity
        self._bytes = 0
        self._images: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def pixels(self, level: str, content: Content) -> Tensor:
        """See `CropReader.pixels`.

        Raises:
            InvalidImage: the level image is missing or damaged.
            InvalidDataset: the box lies outside of it.
        """
        return self._view(level, content).clone()

    def crop(self, level: str, content: Content) -> Tensor:
        """See `CropReader.crop`; raises what `pixels` raises."""
        return self._view(level, content).float() / 255

    def _view(self, level: str, content: Content) -> Tensor:
        image = self._image(level, content.source)
        bottom, right = content.top + content.height, content.left + content.width
        if bottom > image.shape[1] or right > image.shape[2]:
            raise InvalidDataset(
                f"{content.name}, {content.height} x {content.width} pixels, lies outside of "
                f"{self._dataset.image_path(level, content.source)}",
                field=content.source,
            )
        return image[:, content.top : bottom, content.left : right]

    def _image(self, level: str, source: str) -> Tensor:
        key = (level, source)
        image = self._images.get(key)
        if image is not None:
            self._images.move_to_end(key)
            return image
        path = self._dataset.image_path(level, source)
        image = to_tensor(read_image(path))[0]
        if image.dtype != torch.uint8 or image.shape[0] != 3:
            raise InvalidDataset(f"{path} is not RGB with 8 bits", field=str(path))
        self._images[key] = image
        self._bytes += image.numel()
        while self._bytes > self._capacity:
            self._bytes -= self._images.popitem(last=False)[1].numel()
        return image
