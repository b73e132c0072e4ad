"""The images of a request, as batches to work on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput, LimitExceeded
from ranksrgan.contracts.serving.precedence import behind
from ranksrgan.contracts.v1 import image_pb2
from ranksrgan.contracts.wire import codec, request_segments

#: Pixels of one image that a server decodes unless it is told otherwise.
MAX_PIXELS = 2**24
#: Images of one request, whatever their size: each takes time and memory of its own.
MAX_IMAGES = 2**12
# A request of the largest size holds a thousand files of the most pixels, if they are flat enough;
# all of them are decoded before the work begins.
_MOST_TOGETHER = 4


def check_number(number: int, field: str) -> None:
    """Find out whether a request may have so many images.

    Raises:
        InvalidInput: there are none.
        LimitExceeded: over `MAX_IMAGES`.
    """
    if number == 0:
        raise InvalidInput(f"{field}: none were sent", field=field)
    if number > MAX_IMAGES:
        raise LimitExceeded(
            f"{field}: {number} are too many for one request, which may have {MAX_IMAGES}; send "
            "fewer of them at a time",
            field=field,
        )


def read_batches(
    images: Sequence[image_pb2.Image], references: Sequence[image_pb2.Image], max_pixels: int
) -> list[tuple[Tensor, Tensor | None]]:
    """The images of a request, and what they are compared with.

    One batch if all images are alike, as they are when a Python client sent one; else singles. A
    batch stays the batch that the client sees, since its size can change a network's last bits.

    Args:
        images, references: as they were sent; one reference for each image, or none.
        max_pixels: of one image. Encoded ones have four times as many together at most.

    Raises:
        InvalidInput: none, or another number of references; also as `codec.image_from_proto`.
        ImageTooLarge: one image, or all of them.
        LimitExceeded: over `MAX_IMAGES`.
        RequestCancelled: nobody waits for them any more.
    """
    check_number(len(images), "images")
    if references and len(references) != len(images):
        raise InvalidInput(
            f"{len(references)} references for {len(images)} images", field="references"
        )
    read = _read(images, "images", max_pixels)
    against = _read(references, "references", max_pixels) if references else None
    if _alike(read) and (against is None or _alike(against)):
        return [(_whole(read), None if against is None else _whole(against))]
    if against is None:
        return [(image[None], None) for image in read]
    return [(image[None], other[None]) for image, other in zip(read, against, strict=True)]


def _read(
    messages: Sequence[image_pb2.Image], field: str, max_pixels: int
) -> Tensor | list[Tensor]:
    """As they lie in shared memory if they are a batch there; else image by image."""
    whole = codec.image_batch_place_from_proto(messages, f"{field}[0]", max_pixels)
    if whole is not None:
        return request_segments.current(f"{field}[0]").read(whole, f"{field}[0]")
    images: list[Tensor] = []
    room = _MOST_TOGETHER * max_pixels
    for i, message in enumerate(messages):
        cancellation.check()
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


def _alike(images: Tensor | list[Tensor]) -> bool:
    """Whether they are a batch, or can be."""
    if isinstance(images, Tensor):
        return True
    return len({(image.shape, image.dtype) for image in images}) == 1


def _whole(images: Tensor | list[Tensor]) -> Tensor:
    """They, as one batch; copied only if they are several that do not lie together."""
    if isinstance(images, Tensor):
        return images
    return images[0][None] if len(images) == 1 else torch.stack(images)
