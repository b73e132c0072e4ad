"""What the metrics of an image against its reference have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.luma import (
    Convention,
    canonical_name,
    check_border,
    check_convention,
    luma_planes,
)


class Measure(Protocol):
    """A full-reference metric as a function of images, references, border and luma."""

    def __call__(
        self, images: Tensor, references: Tensor, border: int, luma: Convention
    ) -> Tensor: ...


class FullReferenceScorer:
    """A full-reference metric of luma planes as a `Scorer`.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
    """

    metric: ClassVar[str]
    version: ClassVar[str]
    higher_is_better: ClassVar[bool]
    min_side: ClassVar[int]
    lowest: ClassVar[float]
    highest: ClassVar[float]
    measure: ClassVar[Measure]

    def __init__(self, border: int = 0, luma: Convention = "y") -> None:
        check_border(border)
        check_convention(luma)
        self._border = border
        self._luma = luma

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name=canonical_name(self.metric, self._border, self._luma),
            version=self.version,
            higher_is_better=self.higher_is_better,
            needs_reference=True,
            differentiable=False,
            min_side=self.min_side + 2 * self._border,
            lowest=self.lowest,
            highest=self.highest,
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and the metric's function."""
        if references is None:
            raise InvalidInput(f"{self.metric} needs references", field="references")
        return self.measure(images, references, self._border, self._luma)


def luma_plane_pairs(
    images: Tensor, references: Tensor, border: int, luma: Convention, *, rounded: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """The shaved luma of each image with that of its reference, ``(H, W)`` float64 on one device.

    ``rounded`` as in `ranksrgan.metrics.luma.luma`.

    Raises:
        InvalidInput: the shapes differ, or what `luma_planes` raises for either of the two.
    """
    if images.shape != references.shape:
        raise InvalidInput(
            f"references has the shape {tuple(references.shape)} and images "
            f"{tuple(images.shape)}: they are the same size, the same channels and as many",
            field="references",
        )
    return zip(
        luma_planes(images, border, luma, rounded),
        luma_planes(references.to(images.device), border, luma, rounded, field="references"),
        strict=True,
    )


def plane_mean(plane: Tensor) -> Tensor:
    """Mean of ``(H, W)`` by rows: one sum over all of it would depend on the number of threads."""
    return plane.mean(dim=1).mean()
