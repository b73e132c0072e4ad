"""From the results of all source images to a dataset: split, manifest, record.

The results are read twice from the building folder, one at a time: first to count and to split,
then to write the manifest. So memory does not grow with the number of crops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata.building.source import SourceResult, SourceWork
from ranksrgan.rankdata.config import SPLITS, Split
from ranksrgan.rankdata.duplicates import near_duplicates
from ranksrgan.rankdata.identity import identity_of
from ranksrgan.rankdata.manifest import (
    FORMAT,
    Counts,
    LevelRecord,
    Record,
    Row,
    level_image,
    write_manifest,
    write_record,
)
from ranksrgan.rankdata.split import split_sources


@dataclass(frozen=True)
class Assembled:
    """A dataset that is complete in the building folder.

    Attributes:
        record: what made it.
        sources: source images per split.
        crops: contents per split.
    """

    record: Record
    sources: dict[str, int]
    crops: dict[str, int]


@dataclass(frozen=True)
class _Tally:
    """What the results add up to.

    Attributes:
        counts: see `Counts`.
        crops: kept of each source; those without one are left out.
        hashes: perceptual hashes of the same.
        inputs: sha256 of the input files of every source.
        ordered: whether any two versions of a crop differ in their label.
    """

    counts: Counts
    crops: dict[str, int]
    hashes: dict[str, int]
    inputs: dict[str, str]
    ordered: bool


def assemble(work: SourceWork, settings: Mapping[str, Any], run: dict[str, Any]) -> Assembled:
    """Complete the dataset in the building folder.

    Args:
        work: every source is finished.
        settings: see `ranksrgan.rankdata.identity.settings_of`.
        run: for the record.

    Raises:
        InvalidDataset: no crop is left, every pair is a tie, or too few images for the splits.
    """
    config, folder = work.config, work.folder.dataset
    tally = _add_up(work)
    if not tally.crops:
        raise InvalidDataset(f"no crop is left: {describe_losses(tally.counts)}", field="hr")
    if not tally.ordered:
        raise InvalidDataset(
            f"every pair is a tie: all versions of each crop have the same {work.labels.info.name}",
            field="levels",
        )
    duplicates = near_duplicates(tally.hashes)
    split = split_sources(tally.crops, config.fractions, config.seed, duplicates)
    _sweep(folder, work.levels, tally.crops)
    further = tuple(scorer.info for scorer in work.labels.further)
    write_manifest(folder, _rows(work, split), [info.name for info in further])
    atomic.write_text(folder / "config.yaml", dump_yaml(config))
    record = Record(
        format=FORMAT,
        metric=work.labels.info,
        further=further,
        label=config.label,
        levels=tuple(
            LevelRecord(name=name, spec=config.levels[name], kind=level.kind, facts=level.facts)
            for name, level in work.levels.items()
        ),
        counts=tally.counts,
        duplicates=tuple(duplicates),
        identity=identity_of(settings, tally.inputs),
        config=config.model_dump(mode="json"),
        run=run,
    )
    write_record(folder, record)
    sources = Counter(split.values())
    crops: Counter[str] = Counter()
    for name, count in tally.crops.items():
        crops[split[name]] += count
    return Assembled(
        record,
        sources={name: sources[name] for name in SPLITS if sources[name]},
        crops={name: crops[name] for name in SPLITS if crops[name]},
    )


def describe_losses(counts: Counts) -> str:
    """One line about what was left out, empty if nothing was."""
    lost = [f"{count} crop(s) {reason}" for reason, count in counts.crops_dropped.items()]
    if counts.sources_smaller_than_crop:
        lost.append(f"{counts.sources_smaller_than_crop} image(s) smaller than a crop")
    return ", ".join(lost)


def _add_up(work: SourceWork) -> _Tally:
    smaller = empty = 0
    dropped: Counter[str] = Counter()
    crops: dict[str, int] = {}
    hashes: dict[str, int] = {}
    inputs: dict[str, str] = {}
    ordered = False
    for result in _results(work, work.paths):
        inputs[result.source] = result.inputs
        smaller += result.smaller_than_crop
        dropped.update(result.dropped)
        if result.phash is None:
            empty += not result.smaller_than_crop
            continue
        crops[result.source] = len(result.boxes)
        hashes[result.source] = result.phash
        ordered = ordered or _has_order(result)
    counts = Counts(
        sources=len(work.paths),
        sources_not_chosen=work.not_chosen,
        sources_smaller_than_crop=smaller,
        sources_without_kept_crop=empty,
        crops_kept=sum(crops.values()),
        crops_dropped=dict(sorted(dropped.items())),
    )
    return _Tally(counts, crops, hashes, inputs, ordered)


def _results(work: SourceWork, names: Iterable[str]) -> Iterator[SourceResult]:
    for name in names:
        result = work.result(name)
        if result is None:
            raise InvalidDataset(f"{work.folder.result(name)} has vanished", field=name)
        yield result


def _has_order(result: SourceResult) -> bool:
    by_crop = zip(*result.scores.values(), strict=True)
    return any(len({label for label, *_ in versions}) > 1 for versions in by_crop)


def _rows(work: SourceWork, split: Mapping[str, Split]) -> Iterator[Row]:
    for result in _results(work, (name for name in work.paths if name in split)):
        for index, box in enumerate(result.boxes):
            for level, scores in result.scores.items():
                label, *further = scores[index]
                yield Row(
                    result.source,
                    split[result.source],
                    level,
                    *box,
                    score=label,
                    sha256=result.files[level],
                    sharpness=result.sharpness[index],
                    further=tuple(further),
                )


def _sweep(folder: Path, levels: Iterable[str], kept: Mapping[str, Any]) -> None:
    """Remove what has no part in the dataset: images of sources that have lost their crops since,
    and files that a kill has left half written."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for level in levels:
        for path in level_image(folder, level, "any").parent.iterdir():
            if path.stem not in kept or path.suffix != ".png":
                path.unlink()
