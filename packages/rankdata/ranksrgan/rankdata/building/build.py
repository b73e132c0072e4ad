"""Building a rank dataset: degrade, make the levels, crop, label, split, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts import Scorer, ScorerInfo, Upscaler
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.provenance import run_record
from ranksrgan.rankdata.building.assemble import assemble
from ranksrgan.rankdata.building.executors import Executor, check_executor, run_sources
from ranksrgan.rankdata.building.source import SourceWork
from ranksrgan.rankdata.config import WHOLE, BuildConfig
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.folder import (
    check_target,
    first_difference,
    holds_dataset,
    locked_building_folder,
    telling_of_a_full_disk,
)
from ranksrgan.rankdata.given_objects import with_objects
from ranksrgan.rankdata.identity import difference_of, settings_of
from ranksrgan.rankdata.manifest import Counts, read_record
from ranksrgan.rankdata.placeholders import check_filled
from ranksrgan.rankdata.places import same_places
from ranksrgan.rankdata.split import split_sizes

#: Called with steps done, steps in all (a step is one level of one source) and the source's name.
#: Where a build goes on from an earlier one, the first call tells of the steps that were done then.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class DatasetSummary:
    """What `build` made.

    Attributes:
        folder: the dataset.
        metric: what labelled it.
        levels: their names, in order.
        sources: source images per split.
        crops: contents per split; each is there at every level.
        duplicates: groups of source images that look alike; each is in one split.
        counts: what was kept and what was dropped, by reason.
    """

    folder: Path
    metric: ScorerInfo
    levels: tuple[str, ...]
    sources: dict[str, int]
    crops: dict[str, int]
    duplicates: tuple[tuple[str, ...], ...]
    counts: Counts


def build(
    config: BuildConfig,
    *,
    scorer: Scorer | None = None,
    upscalers: Mapping[str, Upscaler] | None = None,
    executor: Executor = "local",
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Build a rank dataset in ``config.output``, or go on where an earlier build stopped.

    The dataset appears when it is complete; until then it grows in a hidden folder beside it (see
    `ranksrgan.rankdata.folder`). After a failure or a kill at any moment the same call goes on from
    there: source images that are finished, and whose files have not changed, are not worked on
    again. A complete dataset that the same settings and images would make is left as it is.

    A crop that has no score at one level is dropped at every level and counted by reason; so are
    crops that a filter of the configuration drops, and images that are smaller than a crop.

    Args:
        config: every parameter that the dataset depends on.
        scorer: the metric itself, instead of opening ``config.metric``; its name is written as the
            metric.
        upscalers: by level name, instead of opening the level's spec. What is written says under
            ``given`` that there were objects, and is refused without them.
        executor: where the work is done; the dataset is the same to the byte.
        workers: how many processes or Ray actors; one for each CPU by default.
        overwrite: build anew even if a dataset is there, or an unfinished one with other settings.
            The old dataset stays valid until the new one is complete.
        progress: see `Progress`.

    Raises:
        InvalidInput: the output folder is taken, another build of it is running or unfinished, the
            executor cannot do this, or there is no image.
        InvalidDataset: a folder of results lacks an image or has one of another size; too few
            images for the splits; no crop is left; every pair is a tie.
        InvalidConfig: the configuration is that of a dataset which was built with objects, and they
            are not given; says which. Or it is a recipe's, with places that have not been given.
        ImageTooSmall: a metric needs larger crops; known before any work is done.
        DiskFull: the disk is full.
        InternalError: a worker process died; names the source image.
        RankSRGANError: whatever scorers and upscalers raise. What is finished stays finished.
    """
    config = with_objects(config, scorer, upscalers)
    check_filled(config)
    target = config.output
    if overwrite or not holds_dataset(target):
        check_target(target, overwrite=True)
    else:
        difference = other_parameters(target, config)
        if difference is not None:
            raise _taken(target, difference)
    check_executor(executor, workers, given=scorer is not None or bool(upscalers))
    work = SourceWork(config, scorer=scorer, upscalers=upscalers)
    split_sizes(len(work.paths), config.fractions)  # too few images are found out before the work
    settings, run = settings_of(work), run_record(config.seed)
    with (
        locked_building_folder(target) as building,
        telling_of_a_full_disk(target, "what is finished stays: make room and build again"),
    ):
        if holds_dataset(target) and not overwrite:
            return _finished(target, work)
        if config.crop != WHOLE:
            work.labels.check_crop(config.crop)
        building.claim(settings, discard=overwrite)
        todo = [name for name in work.paths if not work.is_finished(name)]
        steps = _Steps(len(work.paths), len(work.levels), progress)
        steps.resume(len(work.paths) - len(todo))
        for name in run_sources(todo, work, executor, workers, steps.advance):
            steps.finish(name)
        try:
            assembled = assemble(work, settings, run)
        except InvalidDataset:
            building.empty()  # no dataset will come of these settings
            raise
        building.publish(overwrite=overwrite)
    return DatasetSummary(
        folder=target,
        metric=work.labels.info,
        levels=tuple(work.levels),
        sources=assembled.sources,
        crops=assembled.crops,
        duplicates=assembled.record.duplicates,
        counts=assembled.record.counts,
    )


def other_parameters(target: Path, config: BuildConfig) -> str | None:
    """The first place in which the dataset in ``target`` was made with another configuration.

    Nothing is opened; where images and weights lie does not count.

    Raises:
        InvalidDataset: its record is damaged.
    """
    record = read_record(target)
    there = {key: value for key, value in record.config.items() if key != "output"}
    wanted = config.model_dump(mode="json", exclude={"output"})
    if "hr" in there and "levels" in there:
        kinds = {level.name: level.kind for level in record.levels}
        wanted["levels"] = same_places(wanted["levels"], there["levels"], kinds)
        wanted["hr"] = there["hr"]
    if there == wanted and list(there.get("levels", ())) == list(wanted["levels"]):
        return None
    return first_difference(there, wanted)


def difference_from(config: BuildConfig) -> str | None:
    """What is another about the dataset in ``config.output`` than `build` would make it now.

    Its parameters, versions, weights, and the contents of the images, all of which are read; where
    these lie does not count. None if it is the same, and `build` would leave it as it is.

    Raises:
        InvalidDataset: there is no dataset, or it is damaged.
        RankSRGANError: whatever opening the levels and metrics raises.
    """
    difference = other_parameters(config.output, config)
    if difference is not None:
        return difference
    return difference_of(RankDataset.open(config.output), SourceWork(with_objects(config)))


def _finished(target: Path, work: SourceWork) -> DatasetSummary:
    """The summary of a dataset that is there already, if it is the one that is wanted."""
    dataset = RankDataset.open(target)
    record = dataset.record
    difference = difference_of(dataset, work)
    if difference is not None:
        raise _taken(target, difference)
    crops = Counter(content.split for content in dataset.contents)
    sources = Counter(split for _, split in {(c.source, c.split) for c in dataset.contents})
    return DatasetSummary(
        folder=target,
        metric=record.metric,
        levels=dataset.levels,
        sources={split: sources[split] for split in dataset.splits},
        crops={split: crops[split] for split in dataset.splits},
        duplicates=record.duplicates,
        counts=record.counts,
    )


def _taken(target: Path, difference: str) -> InvalidInput:
    return InvalidInput(
        f"{target} already holds a dataset, another one ({difference}); replacing it has to be "
        "asked for (--force)",
        field=str(target),
    )


class _Steps:
    """Counts steps for the progress callback."""

    def __init__(self, sources: int, levels: int, progress: Progress | None) -> None:
        self._total, self._levels, self._progress = sources * levels, levels, progress
        self._done = 0  # steps of finished sources
        self._begun = 0  # steps of the source that is being worked on

    def resume(self, sources: int) -> None:
        """So many sources were finished before."""
        self._done = sources * self._levels
        if sources:
            self._report("")

    def advance(self, source: str) -> None:
        """One level of a source is done."""
        self._begun += 1
        if self._begun < self._levels:  # the last one is told when the source is finished
            self._report(source)

    def finish(self, source: str) -> None:
        """A source is finished, with or without steps in between."""
        self._done, self._begun = self._done + self._levels, 0
        self._report(source)

    def _report(self, source: str) -> None:
        if self._progress is not None:
            self._progress(self._done + self._begun, self._total, source)
