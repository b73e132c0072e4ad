"""Generators as ONNX models, for runtimes that know nothing of PyTorch.

The model takes ``images``, (N, 3, H, W) float32 RGB in [0, 1] of any N, H and W, and makes
``enlarged``, (N, 3, scale * H, scale * W), which is not clamped. There are no tiles in it: a large
image takes memory like the whole network's. Its description says that, and its metadata what it is
and of which weights; where it was made it does not say, and the same weights make the same bytes.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import InternalError, InvalidInput, NotSupported
from ranksrgan.contracts.outputs import check_output
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.upscaling.precision import probe_image

OPSET = 18

# Values are in [0, 1]; runtimes sum in other orders than torch.
_TOLERANCE = 1e-4

# They tell of each of their passes, and of operators of packages that are not there.
_TALKATIVE = ("onnx_ir", "onnxscript", "torch.onnx")


def export_onnx(network: Generator, path: Path, weights: Weights | None = None) -> float | None:
    """Write a generator as an ONNX model, and see that it makes the same pictures.

    Args:
        network: on the CPU; is set to evaluation.
        path: of the model, ending in ``.onnx``; it appears there whole or not at all.
        weights: that the network was read from, for the model's metadata.

    Returns:
        The largest difference from torch on images of three sizes, one of them a batch; None if
        onnxruntime is not installed and nothing could be compared.

    Raises:
        InvalidInput: ``path`` ends in something else, is a folder, or lies where nothing can be
            written.
        NotSupported: onnx or onnxscript are not installed.
        InternalError: the model makes other pictures; no file is left.
    """
    if path.suffix != ".onnx":
        raise InvalidInput(f"{path}: an ONNX model ends in .onnx", field=str(path))
    check_output("path", path, [])
    for needed in ("onnx", "onnxscript"):
        _package(needed)
    network = network.eval().requires_grad_(False)
    sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    with torch.no_grad(), _errors_alone():
        program = torch.onnx.export(
            network,
            (probe_image(16).expand(2, -1, -1, -1)[..., :12].contiguous(),),
            input_names=["images"],
            output_names=["enlarged"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(sizes,),
            verbose=False,
        )
        if program is None:
            raise InternalError(f"torch exports nothing of {network.architecture}")
        model: Any = program.model_proto
    _forget(model)
    _describe(model, network, weights)
    written = model.SerializeToString()
    try:
        runtime = _package("onnxruntime")
    except NotSupported:
        difference = None
    else:
        difference = _difference(network, written, runtime)
        if not difference <= _TOLERANCE:
            raise InternalError(
                f"the ONNX model of {network.architecture} differs from torch by {difference:g}; "
                "it is not written"
            )
    atomic.write_bytes(path, written)
    return difference


def _forget(message: Any) -> None:
    """Take out what the exporter notes in each part of a model: the lines of code that it comes
    from, by the names of the files on this machine."""
    for field in ("doc_string", "metadata_props"):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _forget(part)


def _describe(model: Any, network: Generator, weights: Weights | None) -> None:
    """Say in a model what it makes, and of what it was made."""
    scale = network.scale
    model.doc_string = (
        f"Enlarges RGB images {scale} times: images, (N, 3, H, W) float32 in [0, 1], to enlarged, "
        f"(N, 3, {scale} H, {scale} W), which is not clamped."
    )
    said = {
        "architecture": network.architecture,
        "options": json.dumps(network.options),
        "scale": str(scale),
    }
    if weights is not None:
        said |= {
            "weights": weights.path.name,
            "sha256": weights.sha256,
            "about": json.dumps(weights.about),
        }
    for key, value in said.items():
        model.metadata_props.add(key=key, value=value)


@contextmanager
def _errors_alone() -> Iterator[None]:
    """Within the block the exporter logs errors; what keeps it from its work it raises."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, about torch
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _difference(network: Generator, model: bytes, runtime: ModuleType) -> float:
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count, height, width in ((1, 16, 16), (3, 9, 22), (1, 5, 1)):
        images = probe_image(22)[:, :, :height, :width].expand(count, -1, -1, -1).contiguous()
        with torch.no_grad():
            expected: Tensor = network(images)
        (made,) = session.run(None, {"images": images.numpy()})
        worst = max(worst, float((torch.from_numpy(made) - expected).abs().max()))
    return worst


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotSupported(
            f"{name} is not installed: in the checkout, pip install 'packages/srgan[onnx]'",
            field="onnx",
        ) from error
