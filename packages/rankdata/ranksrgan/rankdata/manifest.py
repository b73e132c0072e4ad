"""The files of a dataset's folder: one row per crop and level, and the record of what made them.

manifest.parquet              Row by Row
dataset.json                  Record
config.yaml                   what a build is configured by
ratings.csv                   of votes alone: what a later study goes on from
levels/<level>/<source>.png   the level images, 8 bits, whole
pack/                         what `pack` made; hidden names beside it, if it was killed
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError, field_serializer, field_validator

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.scorer import ScorerInfo

MANIFEST = "manifest.parquet"
#: Folder of the images, by level.
LEVELS = "levels"
_ROWS_PER_GROUP = 16_384
RECORD = "dataset.json"
FORMAT = 2

_OWN_FOLDERS = re.compile(rf"{LEVELS}(/[^/]+)?|pack|\.pack-(unfinished|old)")
_OWN_FILES = re.compile(
    rf"{re.escape(RECORD)}|{re.escape(MANIFEST)}|config\.yaml|(ratings|comparisons)\.csv"
    rf"|{LEVELS}/[^/]+/[^/]+\.png"
    r"|\.?pack(-unfinished|-old)?/(\d+\.mdb|\.?index[^/]*\.json)"
)

#: What gives the label that orders the versions of a content: a metric's value; the position in
#: the list of levels (from best to worst: 1, 2, 3); or people's votes.
Label = Literal["metric", "order", "votes"]


class Row(NamedTuple):
    """One crop of one level.

    Attributes:
        source: name of the source image.
        split: train, val or test.
        level: name of the level.
        top, left, height, width: the crop's box in pixels.
        score: of the metric that the record names.
        sha256: of the level image's file, in hex.
        sharpness: mean local deviation of the HR crop, 0..255 scale.
        further: of the record's further metrics, in their order.
    """

    source: str
    split: str
    level: str
    top: int
    left: int
    height: int
    width: int
    score: float
    sha256: str
    sharpness: float
    further: tuple[float, ...] = ()


_COLUMNS = {
    "source": pa.string(),
    "split": pa.string(),
    "level": pa.string(),
    "top": pa.int32(),
    "left": pa.int32(),
    "height": pa.int32(),
    "width": pa.int32(),
    "score": pa.float64(),
    "sha256": pa.string(),
    "sharpness": pa.float64(),
}


#: The kind of a level of the official form: each image is a patch, cut from nobody knows which.
PATCHES = "patches"


class LevelRecord(Config):
    """One level: its spec, what kind it is, and what made it (network, weights' hash, ...)."""

    name: str
    spec: str
    kind: str
    facts: dict[str, Any]


class Counts(Config):
    """What was kept and what was not.

    Attributes:
        sources: source images that were read.
        sources_not_chosen: images that were left alone, since fewer were wanted.
        sources_smaller_than_crop: of those, how many have no room for a crop.
        sources_without_kept_crop: of those, how many lost every crop.
        crops_kept: contents of the dataset.
        crops_dropped: by reason; dropped at one level is dropped at all.
    """

    sources: int
    sources_not_chosen: int = 0
    sources_smaller_than_crop: int
    sources_without_kept_crop: int
    crops_kept: int
    crops_dropped: dict[str, int]


class Record(Config):
    """``dataset.json``: every parameter that made the dataset.

    Attributes:
        format: version of this layout.
        metric: what labelled the crops, with its direction.
        further: metrics whose values are in the manifest too.
        label: what the label is. Only where it is ``votes`` may a content lack a level.
        levels: in order.
        counts: what was kept and dropped.
        duplicates: groups of source images that look alike; each is in one split.
        references: sha256 of the stored original of each source whose original is no level, as in
            people's judgements. Datasets of earlier versions do not say it.
        identity: sha256 in hex of everything that decided the dataset: configuration, levels,
            metrics, versions and the contents of the files that were read; empty if unknown.
        config: the resolved `BuildConfig`.
        run: versions, revision, command and time.
    """

    format: int
    metric: ScorerInfo
    further: tuple[ScorerInfo, ...] = ()
    label: Label = "metric"
    levels: tuple[LevelRecord, ...]
    counts: Counts
    duplicates: tuple[tuple[str, ...], ...] = ()
    references: dict[str, str] = Field(default_factory=dict)
    identity: str = ""
    config: dict[str, Any]
    run: dict[str, Any]

    @field_serializer("metric")
    def _metric_to_json(self, metric: ScorerInfo) -> dict[str, Any]:
        return scorer_facts(metric)

    @field_serializer("further")
    def _further_to_json(self, further: tuple[ScorerInfo, ...]) -> list[dict[str, Any]]:
        return [scorer_facts(info) for info in further]

    @field_validator("metric", mode="before")
    @classmethod
    def _metric_from_json(cls, facts: object) -> object:
        return _without_nulls(facts)

    @field_validator("further", mode="before")
    @classmethod
    def _further_from_json(cls, infos: object) -> object:
        return [_without_nulls(facts) for facts in infos] if isinstance(infos, list) else infos


def scorer_facts(info: ScorerInfo) -> dict[str, Any]:
    """A scorer's facts as JSON values: JSON has no infinity, so a bound that is none is null."""
    return {
        key: None if isinstance(value, float) and math.isinf(value) else value
        for key, value in asdict(info).items()
    }


def _without_nulls(facts: object) -> object:
    """A scorer's facts without the bounds that are none."""
    if not isinstance(facts, dict):
        return facts
    return {key: value for key, value in facts.items() if value is not None}


def level_image(folder: Path, level: str, source: str) -> Path:
    """Where the image of a level lies."""
    return folder / LEVELS / level / f"{source}.png"


def foreign_entries(folder: Path, inside: str = "") -> Iterator[str]:
    """What lies in a dataset's folder and is not the dataset's, relative to it.

    Only names are looked at, so that a damaged dataset has its files too.

    Args:
        folder: of the dataset.
        inside: the part of it to look through, empty or with a slash at its end.
    """
    with os.scandir(folder / inside) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{inside}{entry.name}"
        own = _OWN_FOLDERS if entry.is_dir() else _OWN_FILES
        if not own.fullmatch(name):
            yield name
        elif entry.is_dir() and not entry.is_symlink():  # what a link leads to is not removed
            yield from foreign_entries(folder, f"{name}/")


def write_manifest(folder: Path, rows: Iterable[Row], further: Sequence[str] = ()) -> None:
    """Write ``manifest.parquet``, whole or not at all, keeping a few thousand rows in memory.

    Args:
        folder: of the dataset.
        rows: read once.
        further: names of the further metrics.
    """
    schema = _schema(further)
    remaining = iter(rows)
    with (
        atomic.replacing(folder / MANIFEST) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        while chunk := list(islice(remaining, _ROWS_PER_GROUP)):
            flat = [(*row[:-1], *row.further) for row in chunk]
            columns = zip(*flat, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))


def read_manifest(folder: Path, further: Sequence[str] = ()) -> list[Row]:
    """Read ``manifest.parquet``, of this format or of the first one (square boxes of ``size``).

    Raises:
        InvalidDataset: missing, damaged, or without one of the columns.
    """
    path = folder / MANIFEST
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise InvalidDataset(f"{folder} has no {MANIFEST}", field=str(path)) from error
    except (OSError, pa.ArrowException) as error:
        raise InvalidDataset(f"{path} is damaged: {error}", field=str(path)) from error
    if "size" in table.column_names and "height" not in table.column_names:
        for side in ("height", "width"):
            table = table.append_column(side, table.column("size"))
    schema = _schema(further)
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise InvalidDataset(f"{path} has no column {', '.join(missing)}", field=str(path))
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise InvalidDataset(
            f"{path}: a column of the wrong type: {error}", field=str(path)
        ) from error
    plain = len(_COLUMNS)
    return [
        Row._make((*values[:plain], values[plain:]))
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]


def _schema(further: Sequence[str]) -> pa.Schema:
    columns = _COLUMNS | {f"score:{name}": pa.float64() for name in further}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def write_record(folder: Path, record: Record) -> None:
    """Write ``dataset.json``, whole or not at all."""
    # Without references an earlier version can read it.
    content = record.model_dump(mode="json", exclude=set() if record.references else {"references"})
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    atomic.write_text(folder / RECORD, text + "\n")


def read_record(folder: Path) -> Record:
    """Read ``dataset.json``.

    Raises:
        InvalidDataset: missing, damaged, or of a newer format.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidDataset(
            f"{folder} is no rank dataset: it has no {RECORD}", field=str(path)
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{path} is damaged: {error}", field=str(path)) from error
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise InvalidDataset(f"{path} does not say its format", field=str(path))
    if version > FORMAT:
        raise InvalidDataset(
            f"{path} is of format {version}; this version reads up to {FORMAT}: update "
            "ranksrgan-rankdata",
            field=str(path),
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidDataset(f"{path}: {key}: {first['msg']}", field=str(path)) from error
