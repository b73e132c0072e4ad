"""What can be told of a build without beginning it, for what builds after hours of other work."""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts.discovery import asks_service
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.images import stored_size
from ranksrgan.rankdata.building.source import chosen_of
from ranksrgan.rankdata.candidates import boxes_of
from ranksrgan.rankdata.config import WHOLE, BuildConfig
from ranksrgan.rankdata.labels import Labels
from ranksrgan.rankdata.levels import by_stem
from ranksrgan.rankdata.split import split_sizes


def check_here(config: BuildConfig) -> None:
    """Whether the metrics are here and take the crops, and enough images have room for one.

    Services are not asked, nor sums with one; the other metrics are. Levels are not opened: they
    may not be there yet.

    Raises:
        UnknownName, InvalidInput, InvalidCheckpoint, MissingAsset: a metric cannot be opened.
        InvalidConfig, ImageTooSmall: see `Labels.open` and `Labels.check_crop`.
        InvalidDataset: see `check_room` and `by_stem`.
    """
    metrics = (*([config.metric] if config.label == "metric" else []), *config.further)
    here = tuple(spec for spec in metrics if not asks_service(spec))
    # Which of them is the label does not matter here, and what is may be a service.
    labels = Labels.open(config.model_copy(update={"label": "order", "further": here}))
    if config.crop != WHOLE:
        labels.check_crop(config.crop)
    check_room(config)


def check_room(config: BuildConfig) -> None:
    """Whether as many images have room for a crop as there are splits; headers are read alone.

    Raises:
        InvalidInput, InvalidDataset: see `by_stem`.
        InvalidImage, ImageTooLarge: one of them cannot be read.
        InvalidDataset: none has; says which crop would have. Or too few have for the splits.
    """
    paths = chosen_of(by_stem(config.hr), config).values()
    splits = sum(share > 0 for share in config.fractions.values())
    roomy, sides = 0, []
    for path in paths:
        height, width = _used_size(path, config.scale)
        sides.append(min(height, width))
        roomy += sides[-1] > 0 and bool(boxes_of(height, width, config))
        if roomy == splits:
            return
    if not roomy and config.crop != WHOLE:
        largest = max(sides) - (not config.last_offset)
        raise InvalidDataset(
            f"crop: no image of {config.hr} has room for {config.crop} x {config.crop} pixels; "
            f"{largest} is the largest crop for them",
            field="crop",
        )
    split_sizes(roomy, config.fractions)  # refuses


def _used_size(path: Path, scale: int) -> tuple[int, int]:
    """Height and width without what the scale does not divide, in either order."""
    height, width = stored_size(path)
    return height - height % scale, width - width % scale
