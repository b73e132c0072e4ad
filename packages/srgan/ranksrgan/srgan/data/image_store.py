"""Where training crops are cut from: images of a folder, or of a pack (`packed_images`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.images import list_images, read_image, to_tensor
from ranksrgan.srgan.data.ahead import in_order


class ImageEntry(Config):
    """An image of a store.

    Attributes:
        name: of the file that it came from.
        height: in pixels.
        width: in pixels.
        sha256: of its pixels as RGB triples, in hex.
    """

    name: str
    height: int
    width: int
    sha256: str


class ImageStore(Protocol):
    """Images that parts are read from, by several threads at once."""

    @property
    def folder(self) -> Path: ...

    @property
    def entries(self) -> Sequence[ImageEntry]:
        """Of all images, by name."""

    @property
    def kept_bytes(self) -> int:
        """Memory that the decoded images take."""

    def window(self, index: int, top: int, left: int, height: int, width: int) -> Tensor:
        """A part of image ``index``: ``(3, height, width)`` uint8, RGB, its own memory.

        Raises:
            InvalidImage, InvalidDataset: the image is no longer what it was at the start.
        """


def fingerprint(entries: Sequence[ImageEntry]) -> str:
    """sha256 in hex of names, sizes and pixels: the same for a folder and for its pack."""
    lines = (f"{e.name} {e.height} {e.width} {e.sha256}\n" for e in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_rgb(path: Path) -> Tensor:
    """``(H, W, 3)`` uint8: grey repeated, 16 bits rounded to 8, transparency left out.

    Raises:
        InvalidImage, ImageTooLarge: see `read_image`.
    """
    planes = to_tensor(read_image(path))[0]
    if planes.dtype != torch.uint8:
        planes = (planes * 255).round().byte()
    return planes.expand(3, -1, -1).permute(1, 2, 0).contiguous()


def read_entry(path: Path) -> tuple[ImageEntry, Tensor]:
    """An image file as `read_rgb` reads it, and what identifies it; raises what that raises."""
    pixels = read_rgb(path)
    height, width, _ = pixels.shape
    digest = hashlib.sha256(pixels.numpy().data).hexdigest()
    return ImageEntry(name=path.name, height=height, width=width, sha256=digest), pixels


class FolderImages:
    """`ImageStore` of the image files of a folder.

    Every file is read at the start, so that a damaged one stops the run before it has begun.
    Decoded images are kept until ``memory_bytes`` are used; the others are decoded again for every
    window.

    Raises:
        InvalidInput: no such folder, or no image in it.
        InvalidImage, ImageTooLarge: an image that cannot be read.
    """

    def __init__(self, folder: Path, memory_bytes: int, workers: int) -> None:
        self.folder = Path(folder)
        self.entries: list[ImageEntry] = []
        self.kept_bytes = 0
        self._paths = list_images(folder)
        self._pixels: list[Tensor | None] = []
        with closing(in_order(read_entry, self._paths, workers)) as found:
            for entry, pixels in found:
                fits = self.kept_bytes + pixels.numel() <= memory_bytes
                self.entries.append(entry)
                self._pixels.append(pixels if fits else None)
                self.kept_bytes += pixels.numel() if fits else 0

    def window(self, index: int, top: int, left: int, height: int, width: int) -> Tensor:
        """See `ImageStore.window`."""
        pixels = self._pixels[index]
        if pixels is None:
            pixels = read_rgb(self._paths[index])
            entry = self.entries[index]
            if pixels.shape[:2] != (entry.height, entry.width):
                raise InvalidImage(
                    f"{self._paths[index]} is no longer {entry.width} x {entry.height} pixels",
                    field=str(self._paths[index]),
                )
        part = pixels[top : top + height, left : left + width]
        return part.permute(2, 0, 1).clone(memory_format=torch.contiguous_format)
