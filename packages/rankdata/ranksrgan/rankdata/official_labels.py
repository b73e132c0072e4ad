"""The official form of a rank dataset: patches in a folder for each level, and a text file.

    srres/1_srres.png     srgan/1_srgan.png     esrgan/1_esrgan.png
    srres/2_srres.png     ...

    labels.txt            1_srres.png 5.968123
                          1_srgan.png 3.107456
                          1_esrgan.png 2.552001
                          2_srres.png ...

A patch is named by a number and its level. A line is a file name, a space, and the value of the
metric with six decimals: the raw value, of which only the reader knows whether less is better.
`export_labels` adds what the official form does not say: `labels.metric.yaml`, see `label_metric`,
and `sources.csv`, where each patch was cut.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, atomic, cancellation
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import from_tensor, list_images, write_image
from ranksrgan.metrics.score_table import finite_number, image_name, read_column
from ranksrgan.rankdata.config import WHOLE, SplitConfig
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.degradation import read_rgb
from ranksrgan.rankdata.duplicates import near_duplicates, phash
from ranksrgan.rankdata.folder import replacing_folder
from ranksrgan.rankdata.given_scores import (
    ScoredSource,
    complete_dataset,
    crops_of,
    store_level_image,
)
from ranksrgan.rankdata.label_metric import find_label_metric, write_label_metric
from ranksrgan.rankdata.manifest import PATCHES, Counts, LevelRecord
from ranksrgan.rankdata.packed_images import open_crops

if TYPE_CHECKING:
    from ranksrgan.rankdata.building.build import Progress

LABELS = "labels.txt"
SOURCES = "sources.csv"


class ImportConfig(SplitConfig):
    """Parameters of `import_labels`.

    Attributes:
        levels: folder of each level by its name, which is what its files end in (``esrgan`` for
            ``1_esrgan.png``). Levels may share a folder, as the official validation patches do.
        labels: the text file.
        metric, higher_is_better: what the values are of, see `find_label_metric`.
        sources: CSV file with the columns ``patch`` (the number) and ``source`` (the image that it
            was cut from), such as `export_labels` writes.
    """

    levels: dict[str, Path] = Field(min_length=2)
    labels: Path
    metric: str | None = None
    higher_is_better: bool | None = None
    sources: Path | None = None


def export_labels(
    dataset: RankDataset,
    folder: Path,
    *,
    split: str | None = None,
    levels: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a dataset in the official form, whole or not at all.

    Args:
        dataset: whose crops, numbered from 1 by source and box.
        folder: a new one.
        split: one split; None for all.
        levels: which levels, in the order of the lines; all of them by default. The official
            order is srres, srgan, esrgan: most perceptual last.
        progress: called with the contents done, all contents, and the source's name.

    Returns:
        How many contents were written.

    Raises:
        InvalidInput: the folder is taken, fewer than two levels, or one that there is not.
        InvalidDataset: no such split, or a content that lacks one of the levels.
        DiskFull: the disk is full.
    """
    chosen = dataset.levels if levels is None else tuple(levels)
    if len(set(chosen)) < max(2, len(chosen)) or not set(chosen) <= set(dataset.levels):
        raise InvalidInput(
            f"levels {', '.join(chosen)}: two or more of {', '.join(dataset.levels)} are wanted, "
            "each once",
            field="levels",
        )
    contents = dataset.select(split)
    crops = open_crops(dataset)
    lines = []
    places = io.StringIO()
    table = csv.writer(places, lineterminator="\n")
    table.writerow(["patch", "source", "split", "top", "left"])
    with replacing_folder(folder, overwrite=False) as fresh:
        for number, content in enumerate(contents, start=1):
            cancellation.check()
            scores = dict(zip(content.levels, content.scores, strict=True))
            for level in chosen:
                if level not in scores:
                    raise InvalidDataset(
                        f"{dataset.folder}: {content.name} has no version of level {level}; the "
                        "official form has every patch at every level",
                        field=level,
                    )
                name = f"{number}_{level}.png"
                write_image(fresh / level / name, from_tensor(crops.pixels(level, content)))
                lines.append(f"{name} {scores[level]:f}\n")
            table.writerow([number, content.source, content.split, content.top, content.left])
            if progress is not None:
                progress(number, len(contents), content.source)
        atomic.write_text(fresh / SOURCES, places.getvalue())
        atomic.write_text(fresh / LABELS, "".join(lines))
        write_label_metric(fresh / LABELS, dataset.metric)
    return len(contents)


def import_labels(
    config: ImportConfig, *, overwrite: bool = False, progress: Progress | None = None
) -> RankDataset:
    """Make a dataset of ours from patches and labels of the official form, whole or not at all.

    Each patch becomes a source of its own, named by its number. **From the official form alone the
    split can only be by patch**: it does not say which patches were cut from one image, so patches
    that overlap come into training and validation. With ``config.sources`` all patches of an image
    stay together, and so do those of images whose sharpest patches are near-duplicates: two copies
    of one photograph. ``dataset.json`` says which it was (``split_by``: patch or source).

    There is no original to take the sharpness of a crop from: it is that of the first level.

    Args:
        config: every parameter.
        overwrite: replace a dataset that is already there.
        progress: called with the patches done, all patches, and the patch's number.

    Raises:
        InvalidInput: the output folder is taken, or a folder holds no image.
        InvalidConfig: as `find_label_metric`.
        InvalidDataset: a patch that some level or the labels lack, a label without a patch, a line
            that is none, patches of one number that differ in size, too few patches or sources for
            the splits, or nothing but ties. The message names file and line.
        DiskFull: the disk is full.
    """
    found = find_label_metric(config.labels, config.metric, config.higher_is_better)
    config = config.model_copy(update=found.model_dump())
    patches = _find_patches(config.levels)
    scores = _scores(config, patches)
    originals = _originals(config.sources, list(patches)) if config.sources else {}
    sharpest: dict[str, tuple[float, int]] = {}
    sources = []
    output = config.output.resolve()  # "." is another folder once this one was replaced
    with replacing_folder(output, overwrite=overwrite) as folder:
        for done, (number, files) in enumerate(patches.items(), start=1):
            cancellation.check()
            images = _read_patches(files)
            first = next(iter(images.values()))
            crops = crops_of(first, WHOLE, 1)
            if number in originals:
                # Flat patches look alike whatever they are of.
                known, _ = sharpest.get(originals[number], (0.0, 0))
                if crops[0].sharpness > known:
                    sharpest[originals[number]] = crops[0].sharpness, phash(first)
            sources.append(
                ScoredSource(
                    number,
                    crops,
                    scores[number],
                    {
                        level: store_level_image(folder, level, number, image)
                        for level, image in images.items()
                    },
                )
            )
            if progress is not None:
                progress(done, len(patches), number)
        complete_dataset(
            folder,
            config,
            sources,
            metric=ScorerInfo(
                name=found.metric,
                version="imported",
                higher_is_better=found.higher_is_better,
                needs_reference=False,
                differentiable=False,
                min_side=1,
            ),
            label="metric",
            levels=[
                LevelRecord(name=level, spec=str(path), kind=PATCHES, facts={})
                for level, path in config.levels.items()
            ],
            counts=Counts(
                sources=len(sources),
                sources_smaller_than_crop=0,
                sources_without_kept_crop=0,
                crops_kept=len(sources),
                crops_dropped={},
            ),
            together=_together(originals, {name: value for name, (_, value) in sharpest.items()}),
            facts={"split_by": "source" if config.sources else "patch"},
        )
    return RankDataset.open(output)


class _Label(NamedTuple):
    place: str
    score: float


def _read_labels(path: Path) -> dict[str, _Label]:
    """Scores by file name without suffix, each with its ``file:line``."""
    labels: dict[str, _Label] = {}
    for place, line in _lines(path):
        parts = line.rsplit(maxsplit=1)
        score = _number(parts[-1])
        if len(parts) != 2 or score is None:
            raise InvalidDataset(
                f"{place}: {line!r} is no label: a file name, a space and a number are wanted",
                field=place,
            )
        name = image_name(parts[0])
        if name in labels:
            raise InvalidDataset(
                f"{place}: {name} has a label already ({labels[name].place})", field=place
            )
        labels[name] = _Label(place, score)
    return labels


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidDataset(f"{path}: {error.strerror}", field=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not text in UTF-8: {error}", field=str(path)) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def _number(text: str) -> float | None:
    """As in any table, and infinity, which PSNR of an original is."""
    return {"inf": math.inf, "-inf": -math.inf}.get(text.lower(), finite_number(text))


def _find_patches(levels: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """The file of each level by patch."""
    found: dict[str, dict[str, Path]] = {}
    for level, folder in levels.items():
        found[level] = {}
        for path in list_images(folder):
            # The longest goes first: "_v2" is the end of "_esrgan_v2" too.
            ends = [name for name in levels if path.stem.endswith(f"_{name}")]
            owner = max(ends, key=len, default=None)
            number = path.stem.removesuffix(f"_{owner}")
            if owner is None or not number:
                raise InvalidDataset(
                    f"{path}: the name of a patch ends in _ and its level ({', '.join(levels)})",
                    field=str(path),
                )
            if owner == level and found[level].setdefault(number, path) != path:
                raise InvalidDataset(
                    f"{path}: this patch is there already ({found[level][number]})",
                    field=str(path),
                )
    numbers = sorted(set().union(*found.values()), key=lambda number: (len(number), number))
    for number in numbers:
        for level, folder in levels.items():
            if number not in found[level]:
                other = next(name for name in levels if number in found[name])
                raise InvalidDataset(
                    f"{folder} has no patch {number}_{level}; there is {found[other][number]}",
                    field=str(folder),
                )
    return {number: {level: found[level][number] for level in levels} for number in numbers}


def _scores(
    config: ImportConfig, patches: Mapping[str, Mapping[str, Path]]
) -> dict[str, dict[str, float]]:
    """Scores of each level by patch."""
    labels = _read_labels(config.labels)
    scores: dict[str, dict[str, float]] = {}
    for number, files in patches.items():
        scores[number] = {}
        for level, path in files.items():
            label = labels.pop(path.stem, None)
            if label is None:
                raise InvalidDataset(
                    f"{config.labels} has no line of {path.name} ({path})",
                    field=str(config.labels),
                )
            scores[number][level] = label.score
    for name, label in labels.items():
        raise InvalidDataset(
            f"{label.place}: there is no patch {name} in "
            f"{', '.join(str(folder) for folder in config.levels.values())}",
            field=label.place,
        )
    return scores


def _originals(path: Path, patches: Sequence[str]) -> dict[str, str]:
    """The image that each patch was cut from."""
    sources = read_column(path, "source")
    for number in patches:
        if number not in sources:
            raise InvalidDataset(
                f"{path} does not say which image patch {number} was cut from", field=str(path)
            )
    return {number: sources[number] for number in patches}


def _together(originals: Mapping[str, str], hashes: Mapping[str, int]) -> list[list[str]]:
    """Groups of patches that were cut from one image, or from images that look alike."""
    first_of = {name: group[0] for group in near_duplicates(hashes) for name in group}
    groups: dict[str, list[str]] = defaultdict(list)
    for number, original in originals.items():
        groups[first_of.get(original, original)].append(number)
    return list(groups.values())


def _read_patches(files: Mapping[str, Path]) -> dict[str, Tensor]:
    images = {level: read_rgb(path) for level, path in files.items()}
    first, *others = files
    for level in others:
        if images[level].shape != images[first].shape:
            raise InvalidDataset(
                f"{files[level]} is {images[level].shape[-1]} x {images[level].shape[-2]} pixels, "
                f"{files[first]} {images[first].shape[-1]} x {images[first].shape[-2]}",
                field=str(files[level]),
            )
    return images
