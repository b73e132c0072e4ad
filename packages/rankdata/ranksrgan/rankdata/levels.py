"""Levels: the versions of one content that the metric will order.

A level makes an 8-bit image of the size of the high-resolution one. It is 8-bit because it is
stored as PNG, and what is scored has to be what is stored.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ranksrgan.contracts import open_upscaler
from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidInput
from ranksrgan.contracts.images import list_images
from ranksrgan.contracts.specs import is_remote
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.degradation import Source, read_rgb, round_to_8_bits, round_to_uint8
from ranksrgan.rankdata.distortions import distorting
from ranksrgan.rankdata.level_specs import BICUBIC, HR, distortion, interpolation

_WEIGHTS = (".safetensors", ".pth", ".pt")


class Level(Protocol):
    """One way to make a version of a source image."""

    @property
    def kind(self) -> str: ...

    @property
    def facts(self) -> dict[str, Any]:
        """What made it, as JSON values for the dataset's record."""
        ...

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        """``(1, 3, H, W)`` uint8, as large as ``source.hr``, from it or from one of ``others``."""
        ...


@dataclass(frozen=True)
class HighResolution:
    """The original itself."""

    kind = "hr"

    @property
    def facts(self) -> dict[str, Any]:
        return {}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        return source.hr


@dataclass(frozen=True)
class Interpolated:
    """``weight * base + (1 - weight) * HR``: the interpolation set of the RankSRGAN paper.

    Computed in double precision from the stored 8-bit images and rounded once, halves up.
    """

    base: str
    weight: float
    kind = "interpolation"

    @property
    def facts(self) -> dict[str, Any]:
        return {"of": self.base, "lambda": self.weight}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        base, hr = others[self.base].double(), source.hr.double()
        return round_to_uint8(self.weight * base + (1 - self.weight) * hr)


@dataclass(frozen=True)
class Upscaled:
    """A super-resolution method applied to the degraded image."""

    name: str
    upscaler: Upscaler
    kind = "upscaler"

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self.upscaler.info)

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            image = enlarge(self.upscaler, source.lr, f"{source.name} at level {self.name}")
        return round_to_8_bits(image.cpu())


@dataclass(frozen=True)
class Finished:
    """Results that already lie in a folder, matched by the stem of their file names."""

    name: str
    folder: Path
    files: Mapping[str, Path]
    kind = "folder"

    @property
    def facts(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        path = self.files[source.name]
        image = read_rgb(path)
        height, width = source.hr.shape[-2:]
        # Versions of the whole original (recompressed, say) are cropped as the original was.
        if tuple(image.shape[-2:]) == source.size:
            image = image[..., :height, :width]
        if image.shape != source.hr.shape:
            raise InvalidDataset(
                f"level {self.name}: {path} is {image.shape[-1]} x {image.shape[-2]} pixels, its "
                f"source {width} x {height}",
                field=self.name,
            )
        return image


def open_levels(
    config: BuildConfig, sources: Iterable[str], upscalers: Mapping[str, Upscaler]
) -> dict[str, Level]:
    """Open every level of ``config``, in order.

    Args:
        config: names and specs.
        sources: names of all source images; folders of results are checked against them.
        upscalers: given objects by level name; they go before the spec.

    Raises:
        InvalidConfig: an upscaler for no level, or one of another scale.
        InvalidDataset: a folder of results lacks a source image; names level and image.
        UnknownName, InvalidInput, InvalidCheckpoint, ServiceUnavailable: see `open_upscaler`.
    """
    strangers = sorted(set(upscalers) - set(config.levels))
    if strangers:
        raise InvalidConfig(
            f"an upscaler is given for {', '.join(strangers)}; the levels are "
            f"{', '.join(config.levels)}",
            field="upscalers",
        )
    names = list(sources)
    return {
        name: _upscaled(name, upscalers[name], config.scale)
        if name in upscalers
        else _open_level(name, spec, config, names)
        for name, spec in config.levels.items()
    }


def by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by the stem of their file names.

    Raises:
        InvalidInput: not a folder, or no image in it.
        InvalidDataset: two images share a stem, or a name is not UTF-8, as that of its level
            images and its row in the manifest has to be.
    """
    paths = list_images(folder)
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            raise InvalidDataset(
                f"{folder} holds {os.fsencode(path.name)!r}, whose name is not UTF-8; give it "
                "another one",
                field=str(folder),
            ) from error
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise InvalidDataset(
            f"{folder} holds {twice[0]!r} in several formats; keep one of them", field=str(folder)
        )
    return {path.stem: path for path in paths}


def _open_level(name: str, spec: str, config: BuildConfig, sources: list[str]) -> Level:
    if spec == HR:
        return HighResolution()
    blend = interpolation(spec)
    if blend is not None:
        return Interpolated(blend.level, blend.weight)
    distorted = distortion(spec)
    if distorted is not None:
        return distorting(name, distorted, config.seed)
    if spec == BICUBIC:
        return _upscaled(name, open_upscaler(f"bicubic?scale={config.scale}"), config.scale)
    folder = Path(spec)
    if folder.is_dir():
        return _finished(name, folder, sources)
    if "/" in spec and not is_remote(spec) and folder.suffix not in _WEIGHTS:
        raise InvalidInput(f"level {name}: there is no folder {spec}", field=name)
    return _upscaled(name, open_upscaler(spec, pinned=True), config.scale)


def _upscaled(name: str, upscaler: Upscaler, scale: int) -> Upscaled:
    if upscaler.info.scale != scale:
        raise InvalidConfig(
            f"level {name}: {upscaler.info.name} has scale {upscaler.info.scale}, the dataset "
            f"{scale}",
            field=name,
        )
    return Upscaled(name, upscaler)


def _finished(name: str, folder: Path, sources: list[str]) -> Finished:
    files = by_stem(folder)
    missing = [source for source in sources if source not in files]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InvalidDataset(
            f"level {name}: {folder} has no image named {missing[0]}{more}", field=name
        )
    return Finished(name, folder, files)
