"""How ranked images reach whoever learns from them: as labelled pairs, or content by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, Self, cast, get_args, runtime_checkable

from torch import Tensor

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidInput

#: What happens to a pair without an order: it is dropped, or kept with label 0.
Ties = Literal["drop", "keep"]


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
    reference: Tensor | None = None  # (3, H, W) likewise, where no level "hr" is the original

    @property
    def original(self) -> Tensor | None:
        """``(3, H, W)``: what the versions are versions of; None if the source does not have it."""
        if self.reference is not None:
            return self.reference
        return self.images[self.levels.index("hr")] if "hr" in self.levels else None


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
        one_size: whether all contents that have an order are of one height and width; None if the
            source does not know. This and the next two help to refuse what cannot work, and say
            nothing of which data it is.
        infinite: metrics with infinite values, by name, each with a level that has one (PSNR of the
            original); those that the source knows of.
        widest: by metric, how far two versions of one content are apart at most, of the contents
            that have an order; those metrics of which the source knows it without the images.
    """

    metric: str
    higher_is_better: bool
    levels: tuple[str, ...]
    contents: int
    pairs: int
    fingerprint: str
    further: Mapping[str, bool] = field(default_factory=dict)
    one_size: bool | None = field(default=None, compare=False)
    infinite: Mapping[str, str] = field(default_factory=dict, compare=False)
    widest: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class PairSelection:
    """What of a rank dataset is read as pairs.

    Attributes:
        split: one split; None for all.
        ties: what happens to pairs without an order.
        min_gap: values have to differ by more than this to have an order.

    Raises:
        InvalidInput: an unknown tie policy, a negative gap, or a split without a name.
    """

    split: str | None = None
    ties: Ties = "drop"
    min_gap: float = 0.0

    def __post_init__(self) -> None:
        if self.split == "":
            raise InvalidInput("split: a name is wanted; all splits go without", field="split")
        if self.ties not in get_args(Ties):
            raise InvalidInput(f"ties={self.ties}: drop or keep is wanted", field="ties")
        if not self.min_gap >= 0:
            raise InvalidInput(f"min_gap={self.min_gap}: 0 or more is wanted", field="min_gap")

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, beside: Set[str] = frozenset()) -> Self:
        """From texts as they stand in ``ranks?split=train&ties=keep&min_gap=0.1``.

        Args:
            options: the texts by name.
            beside: names of further options, which are somebody else's.

        Raises:
            InvalidInput: an unknown option, or a value that it cannot have.
        """
        known = {"split", "ties", "min_gap", *beside}
        unknown = sorted(set(options) - known)
        if unknown:
            raise InvalidInput(
                f"unknown option {unknown[0]}; a rank dataset takes {', '.join(sorted(known))}",
                field=unknown[0],
            )
        text = options.get("min_gap", "0")
        try:
            min_gap = float(text)
        except ValueError as error:
            raise InvalidInput(f"min_gap={text}: a number is wanted", field="min_gap") from error
        return cls(options.get("split"), cast(Ties, options.get("ties", "drop")), min_gap)


class RankDatasetInfo(Config):
    """What a service tells about one of its rank datasets.

    Attributes:
        name: "datasets/faces".
        metric: what labelled it: a scorer with its options, or another source of order.
        higher_is_better: whether a larger label is a better image.
        levels: names of the versions of each content, in order.
        sources: how many source images each split has.
        contents: how many contents each split has.
        dropped: what was left out, by reason.
        crop: side of a crop in pixels; 0 if contents differ in size.
        further: metrics whose values are there too, with their directions.
        created: when it was built, with a time zone.
    """

    name: str
    metric: str
    higher_is_better: bool
    levels: tuple[str, ...]
    sources: dict[str, int]
    contents: dict[str, int]
    dropped: dict[str, int]
    crop: int
    further: dict[str, bool]
    created: datetime


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
