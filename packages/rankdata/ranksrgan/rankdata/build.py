"""Building a rank dataset: degrade, make the levels, crop, score, split, write."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts import Scorer, ScorerInfo, Upscaler, atomic, cancellation, open_scorer
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import ImageTooSmall, InvalidDataset
from ranksrgan.contracts.images import encode_image, from_tensor
from ranksrgan.contracts.provenance import run_record
from ranksrgan.metrics import patch_crops
from ranksrgan.rankdata.config import SPLITS, BuildConfig
from ranksrgan.rankdata.degradation import Source, read_source
from ranksrgan.rankdata.folder import check_target, replacing_folder
from ranksrgan.rankdata.labels import score_crops
from ranksrgan.rankdata.levels import Level, by_stem, open_levels
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
from ranksrgan.rankdata.split import split_sizes, split_sources

#: Called with steps done, steps in all (a step is one level of one source) and the source's name.
Progress = Callable[[int, int, str], None]

BELOW_MIN_SHARPNESS = "below_min_sharpness"


@dataclass(frozen=True)
class DatasetSummary:
    """What `build` made.

    Attributes:
        folder: the dataset.
        metric: what labelled it.
        levels: their names, in order.
        sources: source images per split.
        crops: contents per split; each is there at every level.
        counts: what was kept and what was dropped, by reason.
    """

    folder: Path
    metric: ScorerInfo
    levels: tuple[str, ...]
    sources: dict[str, int]
    crops: dict[str, int]
    counts: Counts


@dataclass
class _Tally:
    sources_smaller_than_crop: int = 0
    sources_without_kept_crop: int = 0
    crops_dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Scored:
    """The kept crops of one source: all levels of a crop, crop by crop."""

    boxes: list[tuple[int, int]]
    sharpness: list[float]
    scores: dict[str, list[float]]
    hashes: dict[str, str]


def build(
    config: BuildConfig,
    *,
    scorer: Scorer | None = None,
    upscalers: Mapping[str, Upscaler] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Build a rank dataset in ``config.output``, whole or not at all.

    A crop that one level has no score for is dropped at every level and counted by reason; so are
    crops below ``config.min_sharpness``, and images that are smaller than a crop.

    Args:
        config: every parameter.
        scorer: the metric itself, instead of opening ``config.metric``.
        upscalers: by level name, instead of opening the level's spec.
        overwrite: replace a dataset that is already there; it stays valid until the new one is
            complete.
        progress: see `Progress`.

    Raises:
        InvalidInput: the output folder is taken, or there is no image.
        InvalidDataset: a folder of results lacks an image; too few images for the splits; or no
            crop is left.
        ImageTooSmall: the metric needs larger crops.
        RankSRGANError: whatever scorer and upscalers raise; nothing is left behind then.
    """
    target = Path(config.output)
    check_target(target, overwrite=overwrite)
    paths = by_stem(config.hr)
    split_sizes(len(paths), config.fractions)  # too few images are found out before the work
    levels = open_levels(config, paths, upscalers or {})
    scorer = scorer or open_scorer(config.metric)
    if config.crop < scorer.info.min_side:
        raise ImageTooSmall(
            f"crop: {config.crop} pixels a side; {scorer.info.name} needs {scorer.info.min_side}",
            field="crop",
        )
    run = run_record(config.seed)
    tally = _Tally()
    kept: dict[str, _Scored] = {}
    report = _Steps(len(paths) * len(levels), progress)
    with replacing_folder(target, overwrite=overwrite) as folder:
        for index, (name, path) in enumerate(paths.items()):
            try:
                source = read_source(path, config.scale)
            except ImageTooSmall:
                tally.sources_smaller_than_crop += 1
            else:
                scored = _label_source(source, levels, scorer, config, folder, tally, report)
                if scored is not None:
                    kept[name] = scored
            report.reach((index + 1) * len(levels), name)
        counts = Counts(
            sources=len(paths),
            sources_smaller_than_crop=tally.sources_smaller_than_crop,
            sources_without_kept_crop=tally.sources_without_kept_crop,
            crops_kept=sum(len(scored.boxes) for scored in kept.values()),
            crops_dropped=dict(sorted((+tally.crops_dropped).items())),
        )
        if not kept:
            raise InvalidDataset(f"no crop is left: {describe_losses(counts)}", field="hr")
        split = split_sources(kept, config.fractions, config.seed)
        write_manifest(folder, _rows(kept, split, config.crop))
        atomic.write_text(folder / "config.yaml", dump_yaml(config))
        write_record(
            folder,
            Record(
                format=FORMAT,
                metric=scorer.info,
                levels=tuple(
                    LevelRecord(
                        name=name, spec=config.levels[name], kind=level.kind, facts=level.facts
                    )
                    for name, level in levels.items()
                ),
                counts=counts,
                config=config.model_dump(mode="json"),
                run=run,
            ),
        )
    crops: Counter[str] = Counter()
    for name, scored in kept.items():
        crops[split[name]] += len(scored.boxes)
    sources = Counter(split.values())
    return DatasetSummary(
        folder=target,
        metric=scorer.info,
        levels=tuple(levels),
        sources={name: sources[name] for name in SPLITS if sources[name]},
        crops={name: crops[name] for name in SPLITS if crops[name]},
        counts=counts,
    )


def describe_losses(counts: Counts) -> str:
    """One line about what was left out, empty if nothing was."""
    lost = [f"{count} crop(s) {reason}" for reason, count in counts.crops_dropped.items()]
    if counts.sources_smaller_than_crop:
        lost.append(f"{counts.sources_smaller_than_crop} image(s) smaller than a crop")
    return ", ".join(lost)


def _label_source(
    source: Source,
    levels: Mapping[str, Level],
    scorer: Scorer,
    config: BuildConfig,
    folder: Path,
    tally: _Tally,
    report: _Steps,
) -> _Scored | None:
    """Make, score and store the levels of one source; None if no crop of it is kept."""
    if min(source.hr.shape[-2:]) < config.crop:
        tally.sources_smaller_than_crop += 1
        return None
    originals = patch_crops(source.hr, config.crop, config.stride)
    sharpness: list[float] = originals.sharpness[0].tolist()
    boxes: list[tuple[int, int]] = [(top, left) for top, left in originals.boxes.tolist()]
    alive = [i for i, value in enumerate(sharpness) if value >= config.min_sharpness]
    tally.crops_dropped[BELOW_MIN_SHARPNESS] += len(boxes) - len(alive)
    images: dict[str, Tensor] = {}
    scores: dict[str, dict[int, float]] = {}
    for name, level in levels.items():
        if not alive:
            break
        cancellation.check()
        images[name] = level.make(source, images)
        outcomes = score_crops(
            scorer,
            _cut(images[name], [boxes[i] for i in alive], config.crop),
            originals.crops[0, alive] if scorer.info.needs_reference else None,
        )
        scores[name] = {}
        for i, outcome in zip(alive, outcomes, strict=True):
            if isinstance(outcome, str):
                tally.crops_dropped[outcome] += 1
            else:
                scores[name][i] = outcome
        alive = list(scores[name])
        report.advance(source.name)
    if not alive:
        tally.sources_without_kept_crop += 1
        return None
    return _Scored(
        boxes=[boxes[i] for i in alive],
        sharpness=[sharpness[i] for i in alive],
        scores={name: [values[i] for i in alive] for name, values in scores.items()},
        hashes={name: _store(folder, name, source.name, image) for name, image in images.items()},
    )


def _cut(image: Tensor, boxes: list[tuple[int, int]], size: int) -> Tensor:
    return torch.stack([image[0, :, top : top + size, left : left + size] for top, left in boxes])


def _store(folder: Path, level: str, source: str, image: Tensor) -> str:
    """Write a level image; return the hash of the file."""
    data = encode_image(from_tensor(image[0]))
    atomic.write_bytes(level_image(folder, level, source), data)
    return hashlib.sha256(data).hexdigest()


def _rows(kept: Mapping[str, _Scored], split: Mapping[str, str], size: int) -> list[Row]:
    return [
        Row(
            source=source,
            split=split[source],
            level=level,
            top=top,
            left=left,
            height=size,
            width=size,
            score=scored.scores[level][index],
            sha256=scored.hashes[level],
            sharpness=scored.sharpness[index],
        )
        for source, scored in kept.items()
        for index, (top, left) in enumerate(scored.boxes)
        for level in scored.scores
    ]


class _Steps:
    """Counts steps for the progress callback."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def advance(self, source: str) -> None:
        self.reach(self._done + 1, source)

    def reach(self, done: int, source: str) -> None:
        if done > self._done and self._progress is not None:
            self._progress(done, self._total, source)
        self._done = done
