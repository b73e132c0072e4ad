"""Between messages on the wire and the things of this package, in pairs ``x_to_proto`` and
``x_from_proto``. Errors have `error_codec` and rank datasets `pairs_codec`; no other module knows
both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidInput,
)
from ranksrgan.contracts.images import Picture, decode_image, encode_image, to_tensor
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import (
    features_pb2,
    image_pb2,
    scoring_pb2,
    super_resolution_pb2,
)
from ranksrgan.contracts.wire import request_segments
from ranksrgan.contracts.wire.announced_image import AnnouncedImage
from ranksrgan.contracts.wire.shared_memory import Place

_DTYPES = {
    torch.uint8: image_pb2.DATA_TYPE_UINT8,
    torch.float16: image_pb2.DATA_TYPE_FLOAT16,
    torch.bfloat16: image_pb2.DATA_TYPE_BFLOAT16,
    torch.float32: image_pb2.DATA_TYPE_FLOAT32,
    torch.float64: image_pb2.DATA_TYPE_FLOAT64,
}
# What a file of images that are read can take: four channels of 16 bits, as they are, and the rest.
_FILE_BYTES_PER_PIXEL, _FILE_HEAD = 8, 2**20
_TORCH_DTYPES: dict[int, torch.dtype] = {number: dtype for dtype, number in _DTYPES.items()}


def dtype_to_proto(dtype: torch.dtype) -> image_pb2.DataType:
    """A tensor's type.

    Raises:
        InvalidInput: one that does not travel.
    """
    if dtype not in _DTYPES:
        raise InvalidInput(f"{dtype} does not travel; use uint8 or floating point")
    return _DTYPES[dtype]


def dtype_from_proto(number: int, field: str) -> torch.dtype:
    """A tensor's type.

    Raises:
        InvalidInput: unknown.
    """
    dtype = _TORCH_DTYPES.get(number)
    if dtype is None:
        raise InvalidInput(f"{field}: data type {number} is not known", field=field)
    return dtype


def tensor_to_proto(tensor: Tensor) -> image_pb2.Tensor:
    """Any uint8 or floating-point tensor, from any device.

    Raises:
        InvalidInput: of another type.
    """
    dtype = dtype_to_proto(tensor.dtype)
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return image_pb2.Tensor(
        dtype=dtype,
        shape=list(tensor.shape),
        data=flat.view(torch.uint8).numpy().tobytes(),
    )


def tensor_from_proto(message: image_pb2.Tensor, field: str = "tensor") -> Tensor:
    """The tensor, on the CPU and writable.

    Raises:
        InvalidInput: unknown type, or a shape that does not account for every byte.
    """
    dtype = dtype_from_proto(message.dtype, field)
    shape = tuple(message.shape)
    wanted = math.prod(shape) * dtype.itemsize
    if any(side < 0 for side in shape) or wanted != len(message.data):
        raise InvalidInput(
            f"{field}: {len(message.data)} bytes for shape {shape} of {dtype}; "
            f"{max(wanted, 0)} would be right",
            field=field,
        )
    if wanted == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(message.data), dtype=dtype).reshape(shape)


def shared_tensor_to_proto(place: Place) -> image_pb2.SharedTensor:
    """A place in shared memory.

    Raises:
        InvalidInput: its type does not travel.
    """
    return image_pb2.SharedTensor(
        segment=place.segment,
        dtype=dtype_to_proto(place.dtype),
        shape=place.shape,
        offset=place.offset,
    )


def shared_tensor_from_proto(message: image_pb2.SharedTensor, field: str) -> Place:
    """A place; whether it is within its segment shows when that is opened.

    Raises:
        InvalidInput: unknown type.
    """
    dtype = dtype_from_proto(message.dtype, f"{field}.dtype")
    return Place(message.segment, dtype, tuple(message.shape), message.offset)


def shared_batch_from_proto(messages: Sequence[image_pb2.SharedTensor], field: str) -> Place | None:
    """The place of the one tensor ``(N, ...)`` that N tensors are; None if they do not lie so.

    To look at every message by itself takes several times as long.

    Raises:
        InvalidInput: unknown type.
    """
    if not messages:
        return None
    first = shared_tensor_from_proto(messages[0], field)
    expected = image_pb2.SharedTensor()
    expected.CopyFrom(messages[0])
    size = first.size
    for i, message in enumerate(messages):
        offset = message.offset
        if offset != first.offset + i * size:
            return None
        expected.offset = offset
        if message != expected:
            return None
    return replace(first, shape=(len(messages), *first.shape))


def put_tensors(
    tensors: Sequence[Tensor], places: Sequence[image_pb2.SharedTensor], field: str
) -> bool:
    """Put the results of a request where it wants them; False if it did not say where.

    Args:
        tensors: the results, in batches ``(N, ...)``.
        places: one for each result, or none.
        field: of the request, that holds the places.

    Raises:
        InvalidInput: another number of places, or a place for another shape or type.
        SharedMemoryUnavailable: a segment cannot be reached.
    """
    if not places:
        return False
    results = sum(map(len, tensors))
    if len(places) != results:
        raise InvalidInput(f"{field}: {len(places)} places for {results} results", field=field)
    segments = request_segments.current(field)
    found: list[tuple[Place, Tensor, str]] = []
    begin = 0
    for batch in tensors:
        theirs = places[begin : begin + len(batch)]
        whole = shared_batch_from_proto(theirs, f"{field}[{begin}]")
        if whole is not None:
            found.append((whole, batch, f"{field}[{begin}]"))
        else:
            for i, (place, tensor) in enumerate(zip(theirs, batch, strict=True), begin):
                name = f"{field}[{i}]"
                found.append((shared_tensor_from_proto(place, name), tensor, name))
        begin += len(batch)
    for room, result, name in found:
        segments.write(room, result, name)
    return True


def image_to_proto(image: Tensor) -> image_pb2.Image:
    """An image ``(3|1, H, W)`` as raw bytes: exact."""
    return image_pb2.Image(tensor=tensor_to_proto(image))


def image_from_proto(message: image_pb2.Image, field: str, max_pixels: int) -> Tensor:
    """An image as ``(3|1, H, W)``: uint8 from an 8-bit file, floating point from a deeper one.

    Raises:
        InvalidInput: no kind is set, or the tensor is not of that shape.
        SharedMemoryUnavailable: it is in a segment that cannot be reached.
        InvalidImage: the file cannot be decoded.
        ImageTooLarge: more than ``max_pixels``.
    """
    kind = message.WhichOneof("kind")
    if kind == "encoded":
        return to_tensor(picture_from_proto(message, field, max_pixels))[0]
    if kind == "tensor":
        _check_image(tuple(message.tensor.shape), field, max_pixels)
        return tensor_from_proto(message.tensor, field)
    if kind == "shared":
        place = image_place_from_proto(message, field, max_pixels)
        return request_segments.current(field).read(place, field)
    raise InvalidInput(f"{field}: set encoded, tensor or shared", field=field)


def image_place_from_proto(message: image_pb2.Image, field: str, max_pixels: int) -> Place:
    """Where an image ``(3|1, H, W)`` lies that is in shared memory.

    Raises:
        InvalidInput: unknown type, or not of that shape.
        ImageTooLarge: more than ``max_pixels``.
    """
    _check_image(tuple(message.shared.shape), field, max_pixels)
    return shared_tensor_from_proto(message.shared, field)


def image_batch_place_from_proto(
    messages: Sequence[image_pb2.Image], field: str, max_pixels: int
) -> Place | None:
    """Where a batch ``(N, 3|1, H, W)`` lies that images in shared memory are; None if they are not
    there, or not one after the other.

    Raises:
        InvalidInput, ImageTooLarge: as `image_place_from_proto`.
    """
    if not messages or any(message.WhichOneof("kind") != "shared" for message in messages):
        return None
    _check_image(tuple(messages[0].shared.shape), field, max_pixels)
    return shared_batch_from_proto([message.shared for message in messages], field)


def image_ahead_to_proto(announced: AnnouncedImage) -> image_pb2.ImageAhead:
    """What announces an image.

    Raises:
        InvalidInput: its type does not travel.
    """
    return image_pb2.ImageAhead(
        size=announced.size,
        dtype=None if announced.dtype is None else dtype_to_proto(announced.dtype),
        shape=announced.shape,
    )


def image_ahead_from_proto(
    message: image_pb2.ImageAhead, field: str, max_pixels: int
) -> AnnouncedImage:
    """What is announced, if it can be taken.

    Raises:
        InvalidInput: no bytes, no image, or a tensor of another size than its shape has.
        ImageTooLarge: more than ``max_pixels``, or more bytes than a file of so many pixels has.
    """
    if message.size < 1:
        raise InvalidInput(f"{field}.size: {message.size} bytes are no image", field=field)
    if not message.dtype and not message.shape:
        if message.size > _FILE_BYTES_PER_PIXEL * max_pixels + _FILE_HEAD:
            raise ImageTooLarge(
                f"{field}.size: a file of {message.size} bytes; at most {max_pixels} pixels are "
                f"read, and {_FILE_BYTES_PER_PIXEL} bytes for each",
                field=field,
            )
        return AnnouncedImage(message.size)
    shape = tuple(message.shape)
    _check_image(shape, field, max_pixels)
    dtype = dtype_from_proto(message.dtype, f"{field}.dtype")
    wanted = math.prod(shape) * dtype.itemsize
    if message.size != wanted:
        raise InvalidInput(
            f"{field}.size: {message.size} bytes for shape {shape}; {wanted} would be right",
            field=field,
        )
    return AnnouncedImage(message.size, dtype, shape)


def _check_image(shape: tuple[int, ...], field: str, max_pixels: int) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise InvalidInput(
            f"{field}: an image has shape (3, H, W) or (1, H, W), not {shape}", field=field
        )
    if shape[1] * shape[2] > max_pixels:
        raise ImageTooLarge(
            f"{field} is {shape[2]} x {shape[1]} pixels; at most {max_pixels} are read", field=field
        )


def row_image_to_proto(image: RowImage) -> super_resolution_pb2.UpscaleStreamRequest.Rows:
    """An image that travels in rows.

    Raises:
        InvalidInput: its type does not travel.
    """
    return super_resolution_pb2.UpscaleStreamRequest.Rows(
        height=image.height,
        width=image.width,
        channels=image.channels,
        dtype=dtype_to_proto(image.dtype),
    )


def row_image_from_proto(message: super_resolution_pb2.UpscaleStreamRequest.Rows) -> RowImage:
    """An image that travels in rows; raises InvalidInput where it cannot be, see `RowImage`."""
    dtype = dtype_from_proto(message.dtype, "rows.dtype")
    return RowImage(message.height, message.width, message.channels, dtype)


def picture_to_proto(picture: Picture) -> image_pb2.Image:
    """A picture as a PNG file, which keeps 16 bits and transparency."""
    return image_pb2.Image(encoded=encode_image(picture))


def picture_from_proto(message: image_pb2.Image, field: str, max_pixels: int) -> Picture:
    """The picture in an encoded image; errors as in `images.decode_image`."""
    return decode_image(message.encoded, name=field, max_pixels=max_pixels)


def scorer_info_to_proto(info: ScorerInfo) -> scoring_pb2.ScorerInfo:
    return scoring_pb2.ScorerInfo(
        name=info.name,
        version=info.version,
        higher_is_better=info.higher_is_better,
        needs_reference=info.needs_reference,
        differentiable=info.differentiable,
        min_side=info.min_side,
        parameters_hash=info.parameters_hash,
        lowest=info.lowest,
        highest=info.highest,
        model_version=info.model_version,
    )


def scorer_info_from_proto(message: scoring_pb2.ScorerInfo) -> ScorerInfo:
    return ScorerInfo(
        name=message.name,
        version=message.version,
        higher_is_better=message.higher_is_better,
        needs_reference=message.needs_reference,
        differentiable=message.differentiable,
        min_side=message.min_side,
        parameters_hash=message.parameters_hash,
        lowest=message.lowest,
        highest=message.highest,
        model_version=message.model_version,
    )


def upscaler_info_to_proto(info: UpscalerInfo) -> super_resolution_pb2.ModelInfo:
    return super_resolution_pb2.ModelInfo(
        name=info.name,
        version=info.version,
        scale=info.scale,
        architecture=info.architecture,
        parameters_hash=info.parameters_hash,
        model_version=info.model_version,
    )


def upscaler_info_from_proto(message: super_resolution_pb2.ModelInfo) -> UpscalerInfo:
    return UpscalerInfo(
        name=message.name,
        version=message.version,
        scale=message.scale,
        architecture=message.architecture,
        parameters_hash=message.parameters_hash,
        model_version=message.model_version,
    )


def feature_set_to_proto(arrays: Mapping[str, Tensor]) -> features_pb2.FeatureSet:
    """The features of one image, by name."""
    return features_pb2.FeatureSet(
        arrays={name: tensor_to_proto(array) for name, array in arrays.items()}
    )


def feature_set_from_proto(message: features_pb2.FeatureSet) -> dict[str, Tensor]:
    return {name: tensor_from_proto(message.arrays[name], name) for name in sorted(message.arrays)}
