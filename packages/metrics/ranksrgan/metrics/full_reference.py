"""What the metrics of an image against its reference have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_tensor import require_tensor
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.luma import (
    CONVENTIONS,
    Convention,
    check_border,
    check_images,
    luma_planes,
)

#: What a metric compares: luma of one of the two conventions, or the channels as they are.
Channels = Literal["y", "gray", "rgb"]
CHANNELS: tuple[Channels, ...] = get_args(Channels)


class FullReferenceScorer:
    """A full-reference metric as a `Scorer`: a subclass says what it is and how it measures.

    Args:
        border: pixels to leave out on every side.

    Attributes:
        measure: the metric's function; called with the options by their names. It measures pair by
            pair.
        min_side: without the border.
    """

    metric: ClassVar[str]
    version: ClassVar[str] = "1"
    higher_is_better: ClassVar[bool]
    differentiable: ClassVar[bool] = False
    min_side: int
    lowest: float
    highest: float
    measure: ClassVar[Callable[..., Tensor]]
    joining = Joining("exactly")

    def __init__(self, border: int = 0) -> None:
        check_border(border)
        self._border = border
        self._options: dict[str, Any] = {"border": border}

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name=self._name(),
            version=self.version,
            higher_is_better=self.higher_is_better,
            needs_reference=True,
            differentiable=self.differentiable,
            min_side=self.min_side + 2 * self._border,
            lowest=self.lowest,
            highest=self.highest,
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and the metric's function."""
        return self.measure(images, self._checked(references), **self._options)

    def _checked(self, references: Tensor | None) -> Tensor:
        if references is None:
            raise InvalidInput(f"{self.metric} needs references", field="references")
        return references

    def _name(self) -> str:
        """The metric's name with its options, defaults left out: ``ssim?border=4&luma=gray``."""
        defaults = inspect.signature(type(self)).parameters
        options = [
            f"{option}={value}"
            for option, value in self._options.items()
            if value != defaults[option].default
        ]
        return f"{self.metric}?{'&'.join(options)}" if options else self.metric


class LumaScorer(FullReferenceScorer):
    """A full-reference metric of luma planes as a `Scorer`.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``; some metrics also take ``"rgb"``.
    """

    channels: ClassVar[tuple[Channels, ...]] = CONVENTIONS

    def __init__(self, border: int = 0, luma: Channels = "y") -> None:
        super().__init__(border)
        check_channels(luma, self.channels)
        self._options["luma"] = luma


def check_channels(luma: str, choices: tuple[Channels, ...] = CHANNELS) -> None:
    """Raise `InvalidInput` unless ``luma`` is one of ``choices``."""
    if luma not in choices:
        raise InvalidInput(
            f"there is no luma {luma!r}: it is one of {', '.join(choices)}", field="luma"
        )


def luma_plane_pairs(
    images: Tensor, references: Tensor, border: int, luma: Convention, *, rounded: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """The shaved luma of each image with that of its reference, ``(H, W)`` float64 on one device.

    ``rounded`` as in `ranksrgan.metrics.luma.luma`.

    Raises:
        InvalidInput: the shapes differ, or what `luma_planes` raises for either of the two.
    """
    check_shapes(images, references)
    return zip(
        luma_planes(images, border, luma, rounded),
        luma_planes(references.to(images.device), border, luma, rounded, field="references"),
        strict=True,
    )


def channel_pairs(
    images: Tensor, references: Tensor, border: int, luma: Channels, *, rounded: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `luma_plane_pairs`, but ``(C, H, W)``: luma has one channel, ``"rgb"`` those of the image.

    The channels of ``"rgb"`` are whole numbers in 0..255 whatever ``rounded`` says: as with luma,
    floating-point images are first rounded to 8 bits.
    """
    check_channels(luma)
    if luma != "rgb":
        for image, reference in luma_plane_pairs(images, references, border, luma, rounded=rounded):
            yield image[None], reference[None]
        return
    check_shapes(images, references)
    check_images(images)
    check_images(references, "references")
    for image, reference in zip(images, references, strict=True):
        # Channels as grey images: the luma of such a one is itself.
        planes = list(
            luma_plane_pairs(image[:, None], reference[:, None], border, "y", rounded=True)
        )
        yield (
            torch.stack([plane for plane, _ in planes]),
            torch.stack([plane for _, plane in planes]),
        )


def check_shapes(images: Tensor, references: Tensor) -> None:
    """Raise `InvalidInput` unless each image has a reference of its size."""
    require_tensor(images)
    require_tensor(references, "references")
    if images.shape != references.shape:
        raise InvalidInput(
            f"references has the shape {tuple(references.shape)} and images "
            f"{tuple(images.shape)}: they are the same size, the same channels and as many",
            field="references",
        )


def plane_mean(plane: Tensor) -> Tensor:
    """Mean of ``(..., H, W)`` over H and W, by rows: one sum over all of it would depend on the
    number of threads."""
    return plane.mean(dim=-1).mean(dim=-1)
