"""The images of a request, as batches to work on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts import codec, request_segments
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput
from ranksrgan.contracts.serving.precedence import behind
from ranksrgan.contracts.shared_memory import together
from ranksrgan.contracts.v1 import image_pb2

#: Pixels of one image that a server decodes unless it is told otherwise.
MAX_PIXELS = 2**24
# A request of the largest size holds a thousand files of the most pixels, if they are flat enough;
# all of them are decoded before the work begins.
_MOST_TOGETHER = 4


def read_images(
    images: Sequence[image_pb2.Image], references: Sequence[image_pb2.Image], max_pixels: int
) -> tuple[list[Tensor], list[Tensor] | None]:
    """The images of a request, and what they are compared with.

    Args:
        images, references: as they were sent; one reference for each image, or none.
        max_pixels: of one image. Encoded ones have four times as many together at most.

    Raises:
        InvalidInput: none, or another number of references; also as `codec.image_from_proto`.
        ImageTooLarge: one image, or all of them.
    """
    if not images:
        raise InvalidInput("images: none were sent", field="images")
    if references and len(references) != len(images):
        raise InvalidInput(
            f"{len(references)} references for {len(images)} images", field="references"
        )
    read = _read(images, "images", max_pixels)
    return read, _read(references, "references", max_pixels) or None


def _read(messages: Sequence[image_pb2.Image], field: str, max_pixels: int) -> list[Tensor]:
    if messages and all(message.WhichOneof("kind") == "shared" for message in messages):
        return _read_shared(messages, field, max_pixels)
    images: list[Tensor] = []
    room = _MOST_TOGETHER * max_pixels
    for i, message in enumerate(messages):
        read = functools.partial(codec.image_from_proto, message, f"{field}[{i}]", max_pixels)
        if message.WhichOneof("kind") == "encoded":
            image = behind(read)
            room -= image.shape[1] * image.shape[2]
        else:
            image = read()
        if room < 0:
            raise ImageTooLarge(
                f"{field}: they have over {_MOST_TOGETHER * max_pixels} pixels together; send "
                "fewer of them at a time",
                field=field,
            )
        images.append(image)
    return images


def _read_shared(messages: Sequence[image_pb2.Image], field: str, max_pixels: int) -> list[Tensor]:
    """Images in shared memory: at once, if they are a batch there."""
    names = [f"{field}[{i}]" for i in range(len(messages))]
    places = [
        codec.image_place_from_proto(message, name, max_pixels)
        for message, name in zip(messages, names, strict=True)
    ]
    segments = request_segments.current(names[0])
    whole = together(places)
    if whole is not None:
        return list(segments.read(whole, names[0]))
    return [segments.read(place, name) for place, name in zip(places, names, strict=True)]


def batches(
    images: list[Tensor], references: list[Tensor] | None
) -> list[tuple[Tensor, Tensor | None]]:
    """One batch if all images are alike, as they are when a Python client sent one; else singles.

    A batch stays the batch that the client sees, since its size can change a network's last bits.
    """
    alike = len({(image.shape, image.dtype) for image in images}) == 1
    if alike and (references is None or len({(r.shape, r.dtype) for r in references}) == 1):
        return [(stacked(images), stacked(references) if references else None)]
    return [
        (image[None], references[i][None] if references else None) for i, image in enumerate(images)
    ]


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Images of one shape and type as a batch, without a copy where they lie side by side."""
    first, size = images[0], images[0].numel()
    storage = first.untyped_storage().data_ptr()
    side_by_side = all(
        image.untyped_storage().data_ptr() == storage
        and image.storage_offset() == first.storage_offset() + i * size
        and image.is_contiguous()
        for i, image in enumerate(images)
    )
    if not side_by_side:
        return torch.stack(list(images))
    return first.as_strided((len(images), *first.shape), (size, *first.stride()))
