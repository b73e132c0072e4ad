"""Completing a dataset whose scores were there before it: people's, or those of a label file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, atomic
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.images import encode_image, from_tensor
from ranksrgan.contracts.provenance import run_record
from ranksrgan.metrics import patch_crops
from ranksrgan.metrics.reference import sharpness
from ranksrgan.rankdata.config import WHOLE, Split, SplitConfig
from ranksrgan.rankdata.manifest import (
    FORMAT,
    Counts,
    Label,
    LevelRecord,
    Record,
    Row,
    level_image,
    write_manifest,
    write_record,
)
from ranksrgan.rankdata.split import split_sources

CropSize = Annotated[int, Field(ge=1)] | Literal["whole"]


class ScoredBox(NamedTuple):
    """A crop: its place in pixels, and the mean local deviation of its pixels (0..255 scale)."""

    top: int
    left: int
    height: int
    width: int
    sharpness: float


@dataclass(frozen=True)
class ScoredSource:
    """A source image, or what stands for one, whose versions are stored and scored as a whole.

    Attributes:
        name: of the source.
        crops: each inherits the scores.
        scores: by level.
        hashes: sha256 of the stored file, by level.
        reference: likewise of the original, where it is stored and no level.
    """

    name: str
    crops: Sequence[ScoredBox]
    scores: Mapping[str, float]
    hashes: Mapping[str, str]
    reference: str | None = None


def crops_of(image: Tensor, size: CropSize, stride: int) -> list[ScoredBox]:
    """The crops of ``(1, 3, H, W)`` uint8, row by row; none if it is too small for one."""
    height, width = image.shape[-2:]
    if size == WHOLE:
        return [ScoredBox(0, 0, height, width, float(sharpness(image[None])))]
    if min(height, width) < size:
        return []
    found = patch_crops(image, size, stride)
    places = zip(found.boxes.tolist(), found.sharpness[0].tolist(), strict=True)
    return [ScoredBox(top, left, size, size, value) for (top, left), value in places]


def store_level_image(folder: Path, level: str, source: str, image: Tensor) -> str:
    """Write ``(1, 3, H, W)`` uint8 as the image of a level; return the sha256 of the file."""
    data = encode_image(from_tensor(image[0]))
    atomic.write_bytes(level_image(folder, level, source), data)
    return hashlib.sha256(data).hexdigest()


def complete_dataset(
    folder: Path,
    config: SplitConfig,
    sources: Sequence[ScoredSource],
    *,
    metric: ScorerInfo,
    label: Label,
    levels: Sequence[LevelRecord],
    counts: Counts,
    together: Sequence[Sequence[str]] = (),
    duplicates: Sequence[tuple[str, ...]] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Split and write manifest and record beside the level images that are there already.

    Args:
        folder: where the level images are.
        config: of the split, and for the record.
        sources: those that are kept.
        metric: what the scores are.
        label: see `Record`.
        levels: in order.
        counts: for the record.
        together: sources that have to be in one split.
        duplicates: for the record.
        facts: more to record beside the configuration.

    Raises:
        InvalidDataset: too few sources for the splits, or every pair is a tie.
    """
    if not any(len(set(source.scores.values())) > 1 for source in sources):
        raise InvalidDataset(
            f"every pair is a tie: no source has two versions that differ in their {metric.name}",
            field="labels",
        )
    names = [source.name for source in sources]
    split = split_sources(names, config.fractions, config.seed, together)
    write_manifest(folder, _rows(sources, split, [level.name for level in levels]))
    atomic.write_text(folder / "config.yaml", dump_yaml(config))
    write_record(
        folder,
        Record(
            format=FORMAT,
            metric=metric,
            label=label,
            levels=tuple(levels),
            counts=counts,
            duplicates=tuple(duplicates),
            references={
                source.name: source.reference for source in sources if source.reference is not None
            },
            config=config.model_dump(mode="json") | dict(facts or {}),
            run=run_record(config.seed),
        ),
    )


def _rows(
    sources: Iterable[ScoredSource], split: Mapping[str, Split], levels: Sequence[str]
) -> Iterator[Row]:
    for source in sources:
        for top, left, height, width, deviation in source.crops:
            for level in levels:
                if level in source.scores:
                    yield Row(
                        source.name,
                        split[source.name],
                        level,
                        top,
                        left,
                        height,
                        width,
                        score=source.scores[level],
                        sha256=source.hashes[level],
                        sharpness=deviation,
                    )
