"""One source image of a dataset, from reading it to the file that says what came of it.

This is the unit of work that every executor runs, here or on another machine. Its outcome depends
on the configuration and on the files it reads, never on the order or the place of work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from torch import Tensor

from ranksrgan.contracts import Scorer, Upscaler, atomic, cancellation
from ranksrgan.contracts.errors import ImageTooSmall, InvalidDataset, InvalidImage
from ranksrgan.contracts.images import encode_image, from_tensor
from ranksrgan.contracts.regular_files import open_regular
from ranksrgan.rankdata import chance
from ranksrgan.rankdata.candidates import (
    BELOW_MIN_GAP,
    BELOW_MIN_SHARPNESS,
    Box,
    Crops,
    boxes_of,
    cut,
    in_batches,
    sharpness_of,
)
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.degradation import Source, read_source
from ranksrgan.rankdata.duplicates import phash
from ranksrgan.rankdata.folder import BuildingFolder
from ranksrgan.rankdata.labels import Labels
from ranksrgan.rankdata.level_specs import HR, making_order
from ranksrgan.rankdata.levels import Finished, by_stem, open_levels
from ranksrgan.rankdata.manifest import level_image


@dataclass(frozen=True)
class SourceResult:
    """What came of one source image; a file in the building folder.

    Attributes:
        source: its name.
        inputs: sha256 of the files that it was made from.
        smaller_than_crop: there was no room for a crop.
        dropped: how many crops were dropped, by reason.
        boxes: of the crops that were kept.
        sharpness: of each of them, in HR.
        scores: by level, of each crop: the label and the further metrics.
        files: by level, sha256 of the image's file; empty if no crop was kept.
        phash: perceptual hash of the original; None if no crop was kept.
    """

    source: str
    inputs: str
    smaller_than_crop: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    scores: dict[str, list[list[float]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    phash: int | None = None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a result; None if there is none yet.

        Raises:
            InvalidDataset: the file is damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            boxes = [Box(*box) for box in content.pop("boxes")]
            return cls(**content, boxes=boxes)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidDataset(
                f"{path} is damaged; without it that image is worked on again", field=str(path)
            ) from error

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        atomic.write_text(path, json.dumps(vars(self), ensure_ascii=False) + "\n")


class SourceWork:
    """Makes everything of one source image at a time; opens levels and metrics once.

    Args:
        config: of the dataset.
        scorer: the metric itself, instead of opening ``config.metric``.
        upscalers: by level name, instead of opening the level's spec.

    Attributes:
        paths: the chosen source images by name, in their order.
        levels: by name, in order.
        labels: what orders them.

    Raises:
        InvalidInput, InvalidDataset, InvalidConfig, ImageTooSmall, UnknownName, InvalidCheckpoint,
        ServiceUnavailable: see `by_stem`, `open_levels`, `Labels.open`.
    """

    def __init__(
        self,
        config: BuildConfig,
        *,
        scorer: Scorer | None = None,
        upscalers: Mapping[str, Upscaler] | None = None,
    ) -> None:
        self.config = config
        self.folder = BuildingFolder(config.output)
        found = by_stem(config.hr)
        self.paths = chosen_of(found, config)
        self.not_chosen = len(found) - len(self.paths)
        self.levels = open_levels(config, self.paths, upscalers or {})
        self.labels = Labels.open(config, scorer)
        self._making_order = making_order(config.levels)

    def result(self, name: str) -> SourceResult | None:
        """What came of a source; None if it is not finished.

        Raises:
            InvalidDataset: the file is damaged.
        """
        return SourceResult.read(self.folder.result(name))

    def is_finished(self, name: str) -> bool:
        """Whether the result of a source is there and its input files are what they were."""
        result = self.result(name)
        return (
            result is not None
            and all(
                level_image(self.folder.dataset, level, name).is_file() for level in result.files
            )
            and result.inputs == self.inputs(name)
        )

    def inputs(self, name: str) -> str:
        """sha256 over the files that the source is made from: the original, finished results."""
        files = [self.paths[name]]
        files += [lvl.files[name] for lvl in self.levels.values() if isinstance(lvl, Finished)]
        digest = hashlib.sha256()
        for path in files:
            digest.update(_hash_file(path))
        return digest.hexdigest()

    def __call__(self, name: str, advance: Callable[[str], None] = lambda _: None) -> None:
        """Make the levels, choose and label the crops, write the images and then the result.

        Args:
            name: of the source.
            advance: is told the name whenever one level is done.

        Raises:
            InvalidImage, ImageTooLarge: the source, or a finished result, cannot be read.
            InvalidDataset: a finished result has another size.
            RankSRGANError: whatever scorers and upscalers raise.
        """
        inputs = self.inputs(name)
        try:
            source = read_source(self.paths[name], self.config.scale)
        except ImageTooSmall:
            result = SourceResult(name, inputs, smaller_than_crop=True)
        else:
            result = self._label(source, inputs, advance)
        result.write(self.folder.result(name))

    def _label(self, source: Source, inputs: str, advance: Callable[[str], None]) -> SourceResult:
        config = self.config
        height, width = source.hr.shape[-2:]
        boxes = boxes_of(height, width, config)
        if not boxes:
            return SourceResult(source.name, inputs, smaller_than_crop=True)
        crops = Crops(boxes)
        sharpness = dict(zip(boxes, sharpness_of(source.hr, boxes, config), strict=True))
        if config.sharpness_of == HR:
            crops.keep_if(lambda box: sharpness[box] >= config.min_sharpness, BELOW_MIN_SHARPNESS)
        images: dict[str, Tensor] = {}
        for level in self._making_order if crops.kept else ():
            cancellation.check()
            images[level] = self.levels[level].make(source, images)
        if config.sharpness_of != HR and crops.kept:
            of_level = sharpness_of(images[config.sharpness_of], boxes, config)
            sharp = {
                box for box, v in zip(boxes, of_level, strict=True) if v >= config.min_sharpness
            }
            crops.keep_if(sharp.__contains__, BELOW_MIN_SHARPNESS)
        scores = self._score(source, images, crops, advance)
        if config.min_gap_levels is not None and crops.kept:
            one, other = (scores[level] for level in config.min_gap_levels)
            # Infinity less infinity is not a number, and no gap either.
            crops.keep_if(
                lambda box: abs(one[box][0] - other[box][0]) > config.min_gap, BELOW_MIN_GAP
            )
        crops.cap(config.max_crops, config.seed, source.name)
        dropped = dict(+crops.dropped)
        if not crops.kept:
            return SourceResult(source.name, inputs, dropped=dropped)
        return SourceResult(
            source.name,
            inputs,
            dropped=dropped,
            boxes=crops.kept,
            sharpness=[sharpness[box] for box in crops.kept],
            scores={
                level: [list(values[box]) for box in crops.kept] for level, values in scores.items()
            },
            files={level: self._store(level, source.name, images[level]) for level in self.levels},
            phash=phash(source.hr),
        )

    def _score(
        self,
        source: Source,
        images: Mapping[str, Tensor],
        crops: Crops,
        advance: Callable[[str], None],
    ) -> dict[str, dict[Box, tuple[float, ...]]]:
        """Labels and further metrics of what is kept, by level; drops what has none somewhere."""
        scores: dict[str, dict[Box, tuple[float, ...]]] = {}
        for place, level in enumerate(self.levels, start=1):
            if not crops.kept:
                break
            cancellation.check()
            outcomes: dict[Box, tuple[float, ...] | str] = {}
            for some in in_batches(crops.kept):
                references = cut(source.hr, some) if self.labels.need_references else None
                found = self.labels.of(cut(images[level], some), references, place)
                outcomes.update(zip(some, found, strict=True))
            scores[level] = {b: value for b, value in outcomes.items() if isinstance(value, tuple)}
            crops.drop({b: value for b, value in outcomes.items() if isinstance(value, str)})
            advance(source.name)
        return scores

    def _store(self, level: str, source: str, image: Tensor) -> str:
        """Write a level image; return the hash of the file."""
        data = encode_image(from_tensor(image[0]))
        atomic.write_bytes(level_image(self.folder.dataset, level, source), data)
        return hashlib.sha256(data).hexdigest()


def chosen_of(found: Mapping[str, Path], config: BuildConfig) -> dict[str, Path]:
    """Those of the images in a folder, see `by_stem`, that a dataset is made of."""
    chosen = chance.choose(
        list(found), config.sources, lambda name: chance.number(config.seed, "sources", name)
    )
    return {name: found[name] for name in chosen}


def _hash_file(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}", field=str(path)) from error
