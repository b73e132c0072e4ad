"""What makes a rank dataset, and nothing that does not change it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config
from ranksrgan.rankdata.level_specs import HR, check_order, making_order

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

WHOLE: Literal["whole"] = "whole"

#: The published code keeps a 296 x 296 patch if the means of its local deviation over 96 x 96
#: blocks (with zeros beyond the edge) add up to 40 or more: a mean of 4.207 over the patch.
PUBLISHED_MIN_SHARPNESS = 40 * 96**2 / 296**2

#: The published code's other numbers: see `BuildConfig.as_published`.
PUBLISHED: Mapping[str, Any] = {
    "metric": "niqe?border=4",
    "crop": 296,
    "stride": 148,
    "last_offset": False,
    "min_sharpness": PUBLISHED_MIN_SHARPNESS,
    "min_gap": 0.1,
    "max_crops": 200,
}

#: The key that a scorer which is given as an object stands for.
METRIC = "metric"

_RECIPES = Path(__file__).parent / "recipes"
_LEVEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def level_key(name: str) -> str:
    """The key that an upscaler which is given for a level stands for."""
    return f"levels.{name}"


class SplitConfig(Config):
    """How sources are shared out, and where the dataset goes.

    Attributes:
        output: folder of the dataset.
        val: share of the sources for validation.
        test: share of the sources for testing; the rest is for training.
        seed: of the split.
    """

    output: Path
    val: Annotated[float, Field(ge=0, le=1)] = 0.1
    test: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = 0

    @property
    def fractions(self) -> dict[Split, float]:
        """The share of the sources of each split, 0 where none is wanted."""
        train = round(1 - self.val - self.test, 9)  # 1 - 0.9 - 0.1 is not quite 0
        return {"train": train, "val": self.val, "test": self.test}

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.fractions["train"] < 0:
            raise ValueError(f"val + test is {self.val + self.test:g}; at most 1 is possible")
        return self


class BuildConfig(SplitConfig):
    """Parameters of `build`.

    Attributes:
        hr: folder of high-resolution images.
        output: folder of the dataset.
        levels: name -> spec: see ``ranksrgan.rankdata.level_specs``. Their order matters for
            ``label: order`` and for how they are shown.
        label: what orders the versions of a content. ``metric``: its value. ``order``: the place in
            ``levels``, which are listed from best (1) to worst; so by method, by lambda, by
            strength. Then ``metric`` is not read.
        metric: what `open_scorer` takes, weighted sums included. Luma and border belong to it; a
            border of 4 is what the published labels were made with.
        further: more metrics, whose values are stored beside the label.
        scale: HR side over LR side.
        crop: side of a crop in pixels (296: nine NIQE blocks inside a border of 4), or ``whole``:
            each image is one content.
        stride: step between crops. 200 as in the paper; the published code has 148.
        last_offset: whether a crop may end with the last row or column of an image. The published
            code leaves that offset out.
        sources: take so many of the images, which the seed chooses; all by default.
        min_sharpness: crops with a smaller mean local deviation (0..255 scale) are dropped. 0, the
            default, drops none, as in the paper; the published code has 4.207
            (`PUBLISHED_MIN_SHARPNESS`).
        sharpness_of: which version's deviation: ``hr``, or a level. The published code looks at its
            most perceptual level.
        min_gap: crops are dropped unless the labels of ``min_gap_levels`` differ by more than this.
            0, the default, drops none; the published code has 0.1 of NIQE between SRGAN and ESRGAN.
        min_gap_levels: two levels.
        max_crops: keep so many crops of an image, which the seed chooses among those that pass all
            else; all by default. The published code has 200.
        val: share of the source images for validation.
        test: share of the source images for testing; the rest is for training.
        seed: of the split, of noise, and of what is chosen.
        given: ``metric`` and ``levels.NAME``, the keys in whose place a scorer and upscalers were
            given as objects. `build` writes it, and refuses what it wrote without the objects.
    """

    hr: Path
    levels: dict[str, str] = Field(min_length=2)
    label: Literal["metric", "order"] = "metric"
    metric: str = "niqe?border=4"
    further: tuple[str, ...] = ()
    scale: Annotated[int, Field(ge=1, le=16)] = 4
    crop: Annotated[int, Field(ge=1)] | Literal["whole"] = 296
    stride: Annotated[int, Field(ge=1)] = 200
    last_offset: bool = True
    sources: Annotated[int, Field(ge=1)] | None = None
    min_sharpness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    sharpness_of: str = HR
    min_gap: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_gap_levels: tuple[str, str] | None = None
    max_crops: Annotated[int, Field(ge=1)] | None = None
    given: tuple[str, ...] = ()

    @classmethod
    def as_published(cls, *, most_perceptual: str, second: str, **settings: Any) -> Self:
        """The crops and filters of the published code.

        What differs from it: the gap is one of the label (NIQE on Y with a border of 4), where the
        published code takes NIQE of the grey crop without a border; and the split is by source
        image, where the published one is by crop.

        Args:
            most_perceptual: the level that the sharpness is of (ESRGAN).
            second: the level whose label must differ from that one's (SRGAN).
            settings: ``hr``, ``output``, ``levels`` and any other key; they go before.
        """
        chosen = {"sharpness_of": most_perceptual, "min_gap_levels": (second, most_perceptual)}
        return cls.model_validate({**PUBLISHED, **chosen, **settings})

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: dict[str, str]) -> dict[str, str]:
        for name in levels:
            if not _LEVEL_NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a level's name is made of letters, digits, _ and -")
            if name == HR != levels[name]:
                raise ValueError(
                    f"the level {HR} is the original ({HR}={HR}); give any other another name"
                )
        making_order(levels)
        return levels

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.label == "order":
            check_order(self.levels)
        keys = (METRIC, *map(level_key, self.levels))
        for key in self.given:
            if key not in keys:
                raise ValueError(f"given: {key!r} is none of {', '.join(keys)}")
        self._check_filters()
        return self

    @model_serializer(mode="wrap")
    def _without_given_unless_something_was(
        self, dump: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        # Datasets of names alone are those that they were before there was such a key.
        content: dict[str, Any] = dump(self)
        if not self.given:
            content.pop("given", None)
        return content

    def _check_filters(self) -> None:
        known = ", ".join(self.levels)
        if self.sharpness_of not in (HR, *self.levels):
            raise ValueError(
                f"sharpness_of: {self.sharpness_of!r} is neither hr nor one of {known}"
            )
        pair = self.min_gap_levels
        if (pair is not None) != (self.min_gap > 0):
            raise ValueError("min_gap and min_gap_levels: one goes with the other")
        if pair is None:
            return
        if pair[0] == pair[1] or not set(pair) <= set(self.levels):
            raise ValueError(f"min_gap_levels: {pair[0]}, {pair[1]} are not two of {known}")
        if self.label == "order":
            raise ValueError("min_gap is a gap between metric values; with label: order it is none")


def recipe_names() -> list[str]:
    """The configurations that come with this package, each a way of the paper to make rank data."""
    return config.recipe_names(_RECIPES)


def load_recipe(name: str | Path | None, overrides: Sequence[str] = ()) -> BuildConfig:
    """Read a recipe by name, or a YAML file.

    Args:
        name: of a recipe; a path that ends in ``.yaml`` or ``.yml``; None for the defaults.
        overrides: ``key=value`` or ``levels.NAME=SPEC`` each.

    Raises:
        UnknownName: no such recipe.
        InvalidConfig: unknown key, wrong type or impossible combination.
    """
    return config.load_recipe(BuildConfig, _RECIPES, name, overrides)
