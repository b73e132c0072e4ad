"""Images that people have judged, with their references, and batches of them.

A whole set is held in memory as it is stored, one byte a channel, so that a batch may draw versions
of any references: PIPAL's 23,200 training images take 5.8 GB, TID2013's 1.8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker.quality.config import QualityConfig


class Judged(NamedTuple):
    """The versions of one reference."""

    name: str
    images: Tensor  # (L, 3, H, W) uint8
    reference: Tensor  # (3, H, W) uint8
    opinions: Tensor  # (L,) float64, as they are
    kinds: Tensor  # (L,) int64
    levels: tuple[str, ...]


class Scale(NamedTuple):
    """Where the opinions of the training set lie."""

    mean: float
    deviation: float
    higher_is_better: bool

    def standardise(self, opinions: Tensor) -> Tensor:
        """In standard deviations from the mean, turned so that higher is better."""
        found = (opinions - self.mean) / self.deviation
        return found if self.higher_is_better else -found


class Batch(NamedTuple):
    """What a step learns from."""

    images: Tensor  # (N, 3, S, S) float32 in [0, 1]
    references: Tensor  # likewise
    values: Tensor  # (N,) float32, standardised, higher is better
    group: Tensor  # (N,) int64: whose reference
    kinds: Tensor  # (N,) int64


class Opinions:
    """All that a source holds.

    Attributes:
        sets: one for each reference, or crop of one.
        kinds: names of the kinds of distortions: what stands before the first ``_`` in the names
            of the levels, PIPAL's categories.

    Args:
        source: is read whole.
        split: what messages call it, ``train`` or ``val``.

    Raises:
        InvalidDataset: a content without its reference, or of another size than it; a single image;
            opinions that are all equal, or not finite.
    """

    def __init__(self, source: PairSource, split: str = "") -> None:
        where = f"{split}: " if split else ""
        kinds = sorted({level.partition("_")[0] for level in source.info.levels})
        self.kinds = tuple(kinds)
        self.sets: list[Judged] = []
        for content in source.contents():
            reference = content.original
            if reference is None:
                raise InvalidDataset(
                    f"{content.content} has no reference: a full-reference model learns from a "
                    "dataset whose contents have one, such as PIPAL, or whose level hr is one",
                    field=content.content,
                )
            if reference.shape != content.images.shape[1:]:
                raise InvalidDataset(
                    f"{content.content}: its versions are {tuple(content.images.shape[1:])} and "
                    f"its reference {tuple(reference.shape)}; they are of one size",
                    field=content.content,
                )
            if not bool(content.scores.isfinite().all()):
                raise InvalidDataset(
                    f"{content.content} has an opinion that is not finite", field=content.content
                )
            numbers = [kinds.index(level.partition("_")[0]) for level in content.levels]
            self.sets.append(
                Judged(
                    content.content,
                    _bytes(content.images),
                    _bytes(reference),
                    content.scores.double(),
                    torch.tensor(numbers),
                    content.levels,
                )
            )
        every = self.every
        if len(every) < 2:
            raise InvalidDataset(
                f"{where}{len(every)} judged image(s): to tell what is better takes two",
                field="images",
            )
        if bool((every == every[0]).all()):
            raise InvalidDataset(
                f"{where}all {len(every)} opinions are {float(every[0]):g}: they say nothing of "
                "what is better",
                field="opinions",
            )
        self.higher_is_better = source.info.higher_is_better

    @property
    def every(self) -> Tensor:
        """``(images,)`` float64: all opinions, reference by reference."""
        parts = [judged.opinions for judged in self.sets]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)

    @property
    def scale(self) -> Scale:
        """Where the opinions lie."""
        every = self.every
        return Scale(float(every.mean()), float(every.std()), self.higher_is_better)

    def check_crop(self, crop: int, least: int) -> None:
        """Whether every image has room for the window of a training.

        Args:
            crop: its side; 0 for whole images.
            least: the side that the model needs.

        Raises:
            InvalidDataset: an image is too small, or whole ones differ in size. Names it.
        """
        sizes = {judged.reference.shape for judged in self.sets}
        if crop == 0 and len(sizes) > 1:
            raise InvalidDataset(
                "crop=0 takes whole images, and those of this dataset differ in size: "
                f"{', '.join(sorted(f'{size[2]} x {size[1]}' for size in sizes)[:4])}",
                field="crop",
            )
        for judged in self.sets:
            side = min(judged.reference.shape[1:])
            if side < max(crop, least):
                raise InvalidDataset(
                    f"{judged.name} has a side of {side} pixels; {max(crop, least)} are wanted",
                    field="crop",
                )

    def batch(self, config: QualityConfig, step: int, scale: Scale) -> Batch:
        """What step number ``step`` learns from: ``config.seed`` and it decide alone."""
        random = torch.Generator().manual_seed(1_000_003 * config.seed + step)
        chosen = _draw(len(self.sets), config.references, random)
        images, references, values, group, kinds = [], [], [], [], []
        for number in chosen:
            judged = self.sets[number]
            for version in _draw(len(judged.images), config.versions, random):
                image, reference = _window(judged.images[version], judged.reference, config, random)
                images.append(image)
                references.append(reference)
                values.append(judged.opinions[version])
                group.append(number)
                kinds.append(judged.kinds[version])
        return Batch(
            torch.stack(images).float() / 255,
            torch.stack(references).float() / 255,
            scale.standardise(torch.stack(values)).float(),
            torch.tensor(group),
            torch.stack(kinds),
        )


def _draw(count: int, wanted: int, random: torch.Generator) -> list[int]:
    """``wanted`` of ``count``, none twice before all were taken once."""
    rounds = -(-wanted // count)
    drawn = [torch.randperm(count, generator=random) for _ in range(rounds)]
    numbers: list[int] = torch.cat(drawn)[:wanted].tolist()
    return numbers


def _window(
    image: Tensor, reference: Tensor, config: QualityConfig, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One random window of both, and one orientation."""
    if config.crop:
        height, width = image.shape[1:]
        top = int(torch.randint(height - config.crop + 1, (), generator=random))
        left = int(torch.randint(width - config.crop + 1, (), generator=random))
        box = (..., slice(top, top + config.crop), slice(left, left + config.crop))
        image, reference = image[box], reference[box]
    if not config.flips:
        return image, reference
    mirror, turns = torch.randint(4, (2,), generator=random).tolist()
    if image.shape[1] != image.shape[2]:
        turns -= turns % 2  # by half turns, which leave the size as it is
    pair = [source.flip(2) if mirror % 2 else source for source in (image, reference)]
    return pair[0].rot90(turns, (1, 2)), pair[1].rot90(turns, (1, 2))


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
