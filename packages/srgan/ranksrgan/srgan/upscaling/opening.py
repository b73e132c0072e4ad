"""A generator's weights and its options, opened as an `Upscaler`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts.checkpoint import Weights, load_weights
from ranksrgan.contracts.device import find_precision
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.architectures import ARCHITECTURES
from ranksrgan.srgan.network_files import network_of
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.upscaling.upscaler import PRECISIONS, GeneratorUpscaler

_OPTIONS = ("device", "memory", "precision", "tile")

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def open_generator(argument: str, options: Mapping[str, str]) -> GeneratorUpscaler:
    """Entry point of weights, ``generator.safetensors?device=cuda&memory=4096``, and of the shipped
    generators, ``ranksrgan?device=cuda``.

    Args:
        argument: path of the weights, or the name of a shipped generator.
        options: ``device`` (as torch names it), ``memory`` (``2GiB``, or a number of MiB), ``tile``
            (longest side in input pixels) and ``precision`` (``auto``, ``float32``, ``bfloat16``,
            ``float16``); see `GeneratorUpscaler`.

    Raises:
        InvalidInput: an unknown option, or a value that it cannot have.
        InvalidCheckpoint: see `load_generator`.
        MissingAsset: see `ShippedWeights.path`.
        NotSupported: see `GeneratorUpscaler`.
    """
    weights = load_weights(SHIPPED.resolve(Path(argument)))
    return upscaler_of(weights, options, name=argument)


def upscaler_of(
    weights: Weights, options: Mapping[str, str], *, name: str | None = None
) -> GeneratorUpscaler:
    """The upscaler of weights that have been read; options and errors as in `open_generator`."""
    check_options(options)
    return GeneratorUpscaler(
        network_of(weights, ARCHITECTURES),
        name=name,
        device=options.get("device", "cpu"),
        memory=parse_memory(options["memory"]) if "memory" in options else None,
        tile=_whole_number(options, "tile"),
        precision=find_precision(options.get("precision", "float32"), PRECISIONS),
    )


def check_options(options: Mapping[str, str]) -> None:
    """Whether a generator has these options; their values show when it is opened.

    Raises:
        InvalidInput: it has no such option; names all that it has.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(
            f"a generator has no option {', '.join(unknown)}; it has: {', '.join(_OPTIONS)}",
            field=unknown[0],
        )


def parse_memory(text: str) -> int:
    """Bytes of ``2GiB``, ``1.5GiB``, ``512MiB`` or ``512``, which is in MiB.

    Raises:
        InvalidInput: anything else, or nothing.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(KiB|MiB|GiB)?", text, re.ASCII)
    size = int(float(match[1]) * _UNITS[match[2] or "MiB"]) if match else 0
    if size < 1:
        raise InvalidInput(
            f"memory={text} is no size; 2GiB, 512MiB or 512 (MiB) would be", field="memory"
        )
    return size


def _whole_number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise InvalidInput(f"{name}={text} is not a whole number above 0", field=name)
    return int(text)
