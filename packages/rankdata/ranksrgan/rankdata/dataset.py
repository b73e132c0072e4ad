"""Reading a rank dataset's folder, and refusing one that contradicts itself."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata.config import SPLITS
from ranksrgan.rankdata.level_specs import HR
from ranksrgan.rankdata.manifest import (
    MANIFEST,
    Record,
    Row,
    level_image,
    read_manifest,
    read_record,
)


class Content(NamedTuple):
    """One crop of one source image, with its score at every level.

    Attributes:
        source, split: the source image and where it belongs.
        top, left, height, width: the box in pixels.
        sharpness: mean local deviation of the HR crop, 0..255 scale.
        levels: the versions that there are, in the dataset's order: all, unless people judged.
        scores: of each level.
        further: for each further metric of the record, of each level.
    """

    source: str
    split: str
    top: int
    left: int
    height: int
    width: int
    sharpness: float
    levels: tuple[str, ...]
    scores: tuple[float, ...]
    further: tuple[tuple[float, ...], ...] = ()

    @property
    def name(self) -> str:
        """Which crop of which source: ``"astronaut@200,0"`` (top, left)."""
        return f"{self.source}@{self.top},{self.left}"


@dataclass(frozen=True)
class RankDataset:
    """An opened dataset.

    Attributes:
        folder: where it lies.
        record: what made it.
        contents: every kept crop, by source and box.
        hashes: sha256 of the file of each (level, source).
    """

    folder: Path
    record: Record
    contents: tuple[Content, ...]
    hashes: Mapping[tuple[str, str], str]

    @classmethod
    def open(cls, folder: Path | str, *, check_hashes: bool = False) -> Self:
        """Open a dataset and check that it is whole.

        Args:
            folder: what `build` wrote.
            check_hashes: read every level image and every stored reference and compare its sha256
                as well.

        Raises:
            InvalidDataset: not a dataset, of a newer format, a level image or a reference missing
                or (with ``check_hashes``) changed, a crop without a score at some level, a source
                in two splits. The message names the level and image.
        """
        folder = Path(folder)
        record = read_record(folder)
        levels = tuple(level.name for level in record.levels)
        rows = read_manifest(folder, [info.name for info in record.further])
        if not rows:
            raise InvalidDataset(f"{folder / MANIFEST} has no rows", field=MANIFEST)
        hashes = _check_rows(rows, levels, folder)
        contents = _group(rows, levels, folder, complete=record.label != "votes")
        dataset = cls(folder, record, contents, hashes)
        for (level, source), expected in hashes.items():
            dataset._check_file(level, source, expected if check_hashes else None)
        for source in {content.source for content in contents} & record.references.keys():
            expected = record.references[source]
            dataset._check_file(HR, source, expected if check_hashes else None)
        return dataset

    def _check_file(self, level: str, source: str, expected: str | None) -> None:
        path = self.image_path(level, source)
        if not path.is_file():
            raise InvalidDataset(
                f"{self.folder}: level {level} has no image of {source} ({path} is missing)",
                field=str(path),
            )
        if expected is not None and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise InvalidDataset(
                f"{self.folder}: level {level}: the image of {source} was changed after it was "
                "labelled",
                field=str(path),
            )

    @property
    def metric(self) -> ScorerInfo:
        """What labelled the crops, and in which direction it counts."""
        return self.record.metric

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, in order."""
        return tuple(level.name for level in self.record.levels)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold something."""
        present = {content.split for content in self.contents}
        return tuple(split for split in SPLITS if split in present)

    def image_path(self, level: str, source: str) -> Path:
        """The file of a level's image."""
        return level_image(self.folder, level, source)

    def select(self, split: str | None = None) -> tuple[Content, ...]:
        """The contents of one split, or all.

        Raises:
            InvalidDataset: no such split, or nothing in it.
        """
        if split is None:
            return self.contents
        chosen = tuple(content for content in self.contents if content.split == split)
        if not chosen:
            raise InvalidDataset(
                f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}",
                field="split",
            )
        return chosen

    def fingerprint(self, contents: Iterable[Content]) -> str:
        """sha256 in hex of metric, levels, images, boxes and scores of ``contents``.

        The images are those of the levels, and the references that the record knows.
        """
        references = self.record.references
        digest = hashlib.sha256(json.dumps([asdict(self.metric), self.levels]).encode())
        for content in contents:
            files = [self.hashes[level, content.source] for level in content.levels]
            if content.source in references:
                files.append(references[content.source])
            digest.update(json.dumps([content, files]).encode())
        return digest.hexdigest()


def _check_rows(
    rows: Iterable[Row], levels: tuple[str, ...], folder: Path
) -> dict[tuple[str, str], str]:
    """Check each row and that they agree; return the hash of each (level, source)."""
    splits: dict[str, str] = {}
    hashes: dict[tuple[str, str], str] = {}
    for row in rows:
        where = f"{folder / MANIFEST}: {row.source} at level {row.level}"
        problem = None
        if row.level not in levels:
            problem = f"the levels are {', '.join(levels)}"
        elif row.source in ("", ".", "..") or "/" in row.source or "\0" in row.source:
            problem = "that is no name of an image"
        elif row.split not in SPLITS:
            problem = f"split {row.split!r} is none of {', '.join(SPLITS)}"
        elif splits.setdefault(row.source, row.split) != row.split:
            problem = f"the source is in two splits, {splits[row.source]} and {row.split}"
        elif hashes.setdefault((row.level, row.source), row.sha256) != row.sha256:
            problem = "two hashes for one file"
        elif any(math.isnan(score) for score in (row.score, *row.further)):
            problem = "a score is not a number"
        elif min(row.height, row.width) < 1 or min(row.top, row.left) < 0:
            problem = (
                f"an impossible box (top {row.top}, left {row.left}, {row.height} x {row.width})"
            )
        if problem:
            raise InvalidDataset(f"{where}: {problem}", field=MANIFEST)
    return hashes


def _group(
    rows: Iterable[Row], levels: tuple[str, ...], folder: Path, *, complete: bool
) -> tuple[Content, ...]:
    """Rows of one crop together, each crop with every level once; or with two, if not complete."""
    found: dict[tuple[str, int, int, int, int], dict[str, Row]] = {}
    for row in rows:
        versions = found.setdefault((row.source, row.top, row.left, row.height, row.width), {})
        if row.level in versions:
            raise InvalidDataset(
                f"{folder / MANIFEST}: two rows of {row.source}@{row.top},{row.left} at level "
                f"{row.level}",
                field=MANIFEST,
            )
        versions[row.level] = row
    contents = []
    for (source, top, left, height, width), versions in sorted(found.items()):
        present = [versions[level] for level in levels if level in versions]
        where = f"{folder / MANIFEST}: {source}@{top},{left}"
        if complete and len(present) < len(levels):
            missing = next(level for level in levels if level not in versions)
            raise InvalidDataset(f"{where} has no score at level {missing}", field=MANIFEST)
        if len(present) < 2:
            raise InvalidDataset(
                f"{where} has one version only; there is nothing to compare", field=MANIFEST
            )
        contents.append(
            Content(
                source,
                present[0].split,
                top,
                left,
                height,
                width,
                sharpness=present[0].sharpness,
                levels=tuple(row.level for row in present),
                scores=tuple(row.score for row in present),
                further=tuple(zip(*(row.further for row in present), strict=True)),
            )
        )
    return tuple(contents)
