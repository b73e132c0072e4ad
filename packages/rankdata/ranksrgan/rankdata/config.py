"""What makes a rank dataset, and nothing that does not change it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import Field, field_validator, model_validator

from ranksrgan.contracts.config import Config

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: The published code keeps a 296 x 296 patch if the means of its local deviation over 96 x 96
#: blocks (with zeros beyond the edge) add up to 40 or more: a mean of 4.207 over the patch.
PUBLISHED_MIN_SHARPNESS = 40 * 96**2 / 296**2

_LEVEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Interpolation(NamedTuple):
    """``interpolate:NAME:LAMBDA``: LAMBDA * NAME + (1 - LAMBDA) * HR."""

    level: str
    weight: float


class BuildConfig(Config):
    """Parameters of `build`.

    Attributes:
        hr: folder of high-resolution images.
        output: folder of the dataset.
        levels: name -> spec, in order: ``hr``, ``bicubic``, ``interpolate:NAME:LAMBDA`` (NAME an
            earlier level), a folder of finished results, or what `open_upscaler` takes.
        metric: what `open_scorer` takes. Luma and border belong to it; a border of 4 is what the
            published labels were made with.
        scale: HR side over LR side.
        crop: side of a crop in pixels (296: nine NIQE blocks inside a border of 4).
        stride: step between crops. 200 as in the paper; the published code has 148.
        min_sharpness: crops whose HR version has a smaller mean local deviation (0..255 scale) are
            dropped. 0, the default, drops none, as in the paper; the published code, which looks
            at the most perceptual level instead of HR, has 4.207 (`PUBLISHED_MIN_SHARPNESS`).
        val: share of the source images for validation.
        test: share of the source images for testing; the rest is for training.
        seed: of the split.
    """

    hr: Path
    output: Path
    levels: dict[str, str] = Field(min_length=2)
    metric: str = "niqe?border=4"
    scale: Annotated[int, Field(ge=1, le=16)] = 4
    crop: Annotated[int, Field(ge=1)] = 296
    stride: Annotated[int, Field(ge=1)] = 200
    min_sharpness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    val: Annotated[float, Field(ge=0, le=1)] = 0.1
    test: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = 0

    @property
    def fractions(self) -> dict[Split, float]:
        """The share of the source images of each split, 0 where none is wanted."""
        train = round(1 - self.val - self.test, 9)  # 1 - 0.9 - 0.1 is not quite 0
        return {"train": train, "val": self.val, "test": self.test}

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: dict[str, str]) -> dict[str, str]:
        earlier: list[str] = []
        for name, spec in levels.items():
            if not _LEVEL_NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a level's name is made of letters, digits, _ and -")
            blend = interpolation(spec)
            if blend is not None and blend.level not in earlier:
                raise ValueError(
                    f"{name}={spec}: {blend.level!r} is not an earlier level; "
                    f"earlier are: {', '.join(earlier) or 'none'}"
                )
            earlier.append(name)
        return levels

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.fractions["train"] < 0:
            raise ValueError(f"val + test is {self.val + self.test:g}; at most 1 is possible")
        return self


def interpolation(spec: str) -> Interpolation | None:
    """Take ``interpolate:NAME:LAMBDA`` apart; None for a spec of another kind.

    Raises:
        ValueError: malformed, or LAMBDA outside [0, 1].
    """
    if not spec.startswith("interpolate:"):
        return None
    try:
        _, level, text = spec.split(":")
        weight = float(text)
    except ValueError as error:
        raise ValueError(f"{spec}: write interpolate:NAME:LAMBDA") from error
    if not 0 <= weight <= 1:
        raise ValueError(f"{spec}: LAMBDA lies between 0 (HR) and 1 ({level})")
    return Interpolation(level, weight)
