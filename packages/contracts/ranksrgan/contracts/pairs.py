"""How ranked images reach whoever learns from them: as labelled pairs, or content by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Pair(NamedTuple):
    """Two versions of one content.

    ``label`` is +1 if ``a`` has the larger metric value, -1 if ``b`` has it and 0 for a tie that
    the source's policy keeps. Larger is not better: see `RankedInfo.higher_is_better`.
    """

    a: Tensor  # (3, H, W) float32 RGB in [0, 1]
    b: Tensor  # (3, H, W)
    label: float


class RankedContent(NamedTuple):
    """All versions of one content with their metric values."""

    content: str  # which crop of which source image
    levels: tuple[str, ...]  # L names, "hr" among them perhaps
    images: Tensor  # (L, 3, H, W) float32 RGB in [0, 1]
    scores: Tensor  # (L,) float64, of the metric that orders
    further: Mapping[str, Tensor] = {}  # (L,) float64 each, by metric


@dataclass(frozen=True)
class RankedInfo:
    """Facts about ranked images.

    Attributes:
        metric: name of the scorer that labelled them (``"niqe?border=4"``).
        higher_is_better: direction of that metric.
        levels: the names of the versions that contents have; a content may lack some of them where
            people have judged it.
        contents: how many contents there are.
        pairs: how many labelled pairs they make under the source's tie policy: one epoch.
        fingerprint: sha256 in hex of what was labelled and how, so that a resumed training can
            tell that it reads the same data.
        further: metrics whose values are there too, by name, with their directions
            (``higher_is_better``).
    """

    metric: str
    higher_is_better: bool
    levels: tuple[str, ...]
    contents: int
    pairs: int
    fingerprint: str
    further: Mapping[str, bool] = field(default_factory=dict)


@runtime_checkable
class PairSource(Protocol):
    """A reproducible stream of labelled pairs, and the contents they come from."""

    @property
    def info(self) -> RankedInfo: ...

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        """Endless pairs in an order that ``seed`` fixes: each epoch a new permutation.

        ``pairs(seed, start=k)`` continues exactly where a reader of ``pairs(seed)`` stood after
        ``k`` pairs, so that a resumed training sees what an uninterrupted one would have seen. With
        ``step`` only every ``step``-th of them is read: process r of W takes ``start=r, step=W``.
        """
        ...

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        """Endless contents, all versions of each, in an order of the same kind as `pairs`.

        Contents without an order (every version a tie by the source's policy) have no part.
        """
        ...

    def contents(self) -> Iterator[RankedContent]:
        """Every content once, in a fixed order."""
        ...
