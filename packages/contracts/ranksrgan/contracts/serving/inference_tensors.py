"""Tensors of the Open Inference Protocol: raw bytes, or values in a field for their type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from google.protobuf.message import Message
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, NotSupported
from ranksrgan.contracts.v1.inference import open_inference_pb2 as pb


class _Type(NamedTuple):
    dtype: torch.dtype
    field: str  # of InferTensorContents; empty where the protocol has none


TYPES = {
    "UINT8": _Type(torch.uint8, "uint_contents"),
    "FP16": _Type(torch.float16, ""),
    "FP32": _Type(torch.float32, "fp32_contents"),
    "FP64": _Type(torch.float64, "fp64_contents"),
}
_NAMES = {kind.dtype: name for name, kind in TYPES.items()}


def read_inputs(request: pb.ModelInferRequest) -> dict[str, Tensor]:
    """The inputs by name, each on the CPU and writable.

    Args:
        request: whose inputs have shapes without an empty or negative side.

    Raises:
        InvalidInput: a name twice, an unknown type, or values that do not account for the shape.
        NotSupported: an input whose values should be looked for elsewhere.
    """
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            f"raw_input_contents: {len(raw)} for {len(request.inputs)} inputs",
            field="raw_input_contents",
        )
    tensors: dict[str, Tensor] = {}
    for i, message in enumerate(request.inputs):
        refuse(message.parameters, f"inputs[{i}]", "shared_memory")
        if message.name in tensors:
            raise InvalidInput(f"inputs[{i}]: {message.name!r} is given twice", field="inputs")
        tensors[message.name] = _read(message, raw[i] if raw else None, f"inputs[{i}]")
    return tensors


def write_outputs(
    response: pb.ModelInferResponse, tensors: Mapping[str, Tensor], *, raw: bool
) -> None:
    """Put tensors into a response, in their order.

    Args:
        response: to put them into.
        tensors: by name, of one of the types in `TYPES`.
        raw: as bytes; else as values in the field of their type, where there is one for all.
    """
    raw = raw or any(not TYPES[_NAMES[tensor.dtype]].field for tensor in tensors.values())
    for name, tensor in tensors.items():
        kind = _NAMES[tensor.dtype]
        values = tensor.detach().cpu().contiguous().numpy()
        output = response.outputs.add(name=name, datatype=kind, shape=list(tensor.shape))
        if raw:
            response.raw_output_contents.append(values.tobytes())
        else:
            getattr(output.contents, TYPES[kind].field).extend(values.reshape(-1).tolist())


def refuse(parameters: Mapping[str, Message], field: str, *beginnings: str) -> None:
    """Refuse parameters that would change what is asked for, instead of passing over them.

    Raises:
        NotSupported: one of their names begins so.
    """
    for name in parameters:
        if name.startswith(beginnings):
            raise NotSupported(f"{field}: the parameter {name[:60]} is not supported", field=field)


def _read(message: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, field: str) -> Tensor:
    if message.datatype not in TYPES:
        raise InvalidInput(
            f"{field}: the datatype {message.datatype[:20]!r} is none of {', '.join(TYPES)}",
            field=field,
        )
    kind = TYPES[message.datatype]
    shape = tuple(message.shape)
    count = math.prod(shape)
    if raw is None:
        values = _typed_values(message, kind, count, field)
    else:
        if message.HasField("contents"):
            raise InvalidInput(
                f"{field}: contents beside raw_input_contents; one of them holds the values",
                field=field,
            )
        if len(raw) != count * kind.dtype.itemsize:
            raise InvalidInput(
                f"{field}: {len(raw)} bytes for the shape {shape} of {message.datatype}; "
                f"{count * kind.dtype.itemsize} would be right",
                field=field,
            )
        values = np.frombuffer(bytearray(raw), torch.empty(0, dtype=kind.dtype).numpy().dtype)
    return torch.from_numpy(values).reshape(shape)


def _typed_values(
    message: pb.ModelInferRequest.InferInputTensor, kind: _Type, count: int, field: str
) -> np.ndarray[Any, Any]:
    if not kind.field:
        raise InvalidInput(
            f"{field}: {message.datatype} travels in raw_input_contents only", field=field
        )
    held = {descriptor.name for descriptor, _ in message.contents.ListFields()}
    values = getattr(message.contents, kind.field)
    if held - {kind.field} or len(values) != count:
        raise InvalidInput(
            f"{field}: {message.datatype} of this shape has {count} values in {kind.field}; there "
            f"are {len(values)}{' beside others' if held - {kind.field} else ''}",
            field=field,
        )
    if kind.dtype == torch.uint8:
        numbers = np.array(values, np.uint32)
        if numbers.size and int(numbers.max()) > 255:
            raise InvalidInput(f"{field}: a value is above 255", field=field)
        return numbers.astype(np.uint8)
    return np.array(values, np.float32 if kind.dtype == torch.float32 else np.float64)
