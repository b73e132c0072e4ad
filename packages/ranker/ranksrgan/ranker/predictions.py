"""What scorers say of ranked images, beside what the metric says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Size, Tensor
from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidDataset, InvalidImage, UndefinedScore, UnknownName
from ranksrgan.contracts.pairs import PairSource, RankedContent, RankedInfo
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.some_names import some_names

#: Pixels that a scorer gets at a time, and that wait for others of their shape: 5 images of
#: 296 x 296, for which a VGG-12 of width 64 needs half a gigabyte. A CPU gains nothing from more.
BATCH_PIXELS = 2**19


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of C contents at L levels. A content may lack levels; there both numbers are NaN.

    Attributes:
        metric: name of the metric that is the truth.
        higher_is_better: its direction.
        levels: names of the levels.
        contents: names of the contents.
        truth: ``(C, L)`` float64, the metric's values; infinite perhaps, as PSNR of the original.
        predicted: ``(C, L)`` float64, the scorer's values, so turned that they rise with the
            metric's; infinite perhaps.
        negated: whether that took a change of sign, since of the scorer's values and of the
            metric's the large ones are the better in one case and the worse in the other.
    """

    metric: str
    higher_is_better: bool
    levels: tuple[str, ...]
    contents: tuple[str, ...]
    truth: Tensor
    predicted: Tensor
    negated: bool = False

    @property
    def present(self) -> Tensor:
        """``(C, L)`` bool: which content has which level."""
        return ~self.truth.isnan()

    @property
    def by_image(self) -> tuple[Tensor, Tensor]:
        """``(n,)`` predicted and ``(n,)`` true values of all images there are."""
        present = self.present
        return self.predicted[present], self.truth[present]

    def of(self, predicted: Tensor) -> Predictions:
        """The same truth beside other values, ``(C, L)``, that rise with the metric's."""
        values = torch.where(self.present, predicted, torch.nan)
        return replace(self, predicted=values, negated=False)


def predict(
    scorers: Mapping[str, Scorer], source: PairSource, *, metric: str | None = None
) -> dict[str, Predictions]:
    """Score every image of ``source.contents()``; each is read once, whatever the scorers' number.

    Images of one shape are scored together, also those of several contents. Shows a progress bar on
    a terminal.

    Args:
        scorers: by name; one that needs references is given the contents' originals.
        source: the ranked images.
        metric: what to compare with: the metric that ordered them (None) or one of
            ``source.info.further``.

    Raises:
        UnknownName: the source has no values of that metric.
        InvalidDataset: there are no contents, a content contradicts ``source.info`` or lacks the
            original (of its versions' size) that a scorer needs, or a true value is NaN.
        UndefinedScore: a prediction is NaN. Infinity has a rank.
        ImageTooSmall: for a scorer; names it and the contents of that size.
    """
    info = source.info
    chosen = info.metric if metric is None else metric
    higher_is_better = _direction(info, chosen)
    names: dict[int, str] = {}
    truth: dict[int, Tensor] = {}
    scores: dict[str, dict[int, Tensor]] = {name: {} for name in scorers}
    bar = tqdm(source.contents(), total=info.contents, unit="content", disable=None, leave=False)
    for group in _of_one_shape(bar):
        for place, content in group.items():
            names[place] = content.content
            truth[place] = _row(true_values(content, chosen, info.metric), content, info.levels)
        for name, scorer in scorers.items():
            found = _score(name, scorer, list(group.values()))
            for (place, content), values in zip(group.items(), found, strict=True):
                scores[name][place] = _row(values, content, info.levels)
    if not names:
        raise InvalidDataset("there are no contents to evaluate on", field="contents")
    everything = range(len(names))
    common = Predictions(
        metric=chosen,
        higher_is_better=higher_is_better,
        levels=info.levels,
        contents=tuple(names[place] for place in everything),
        truth=torch.stack([truth[place] for place in everything]),
        predicted=torch.stack([truth[place] for place in everything]),
    )
    predictions = {}
    for name, scorer in scorers.items():
        negated = scorer.info.higher_is_better != higher_is_better
        values = torch.stack([scores[name][place] for place in everything])
        predictions[name] = replace(
            common, predicted=-values if negated else values, negated=negated
        )
    return predictions


def _direction(info: RankedInfo, metric: str) -> bool:
    if metric == info.metric:
        return info.higher_is_better
    if metric in info.further:
        return info.further[metric]
    known = ", ".join([f"{info.metric} (which orders the levels)", *info.further])
    raise UnknownName(f"no values of {metric!r} are there; there is {known}", field="metric")


def _of_one_shape(contents: Iterable[RankedContent]) -> Iterator[dict[int, RankedContent]]:
    """All contents by their places, in groups of one image shape and about `BATCH_PIXELS`.

    When so many pixels wait, the shape that most of them have goes; so never more wait, whatever
    the number of shapes.
    """
    waiting: dict[Size, dict[int, RankedContent]] = {}
    pixels: Counter[Size] = Counter()
    for place, content in enumerate(contents):
        shape = content.images.shape[1:]
        waiting.setdefault(shape, {})[place] = content
        pixels[shape] += len(content.images) * shape[-2:].numel()
        if pixels.total() >= BATCH_PIXELS:
            (largest, _), *_ = pixels.most_common(1)
            del pixels[largest]
            yield waiting.pop(largest)
    yield from waiting.values()


def _score(name: str, scorer: Scorer, contents: Sequence[RankedContent]) -> list[Tensor]:
    """The scores of each content; their images have one shape."""
    images = torch.cat([content.images for content in contents])
    references = None
    if scorer.info.needs_reference:
        references = torch.cat([_originals(name, content) for content in contents])
    several = max(1, BATCH_PIXELS // images.shape[-2:].numel())
    scores = []
    for start in range(0, len(images), several):
        cancellation.check()
        with torch.no_grad():
            part = slice(start, start + several)
            against = None if references is None else references[part]
            try:
                found = scorer.score(images[part], against)
            except InvalidImage as error:
                names = [content.content for content in contents for _ in content.levels][part]
                raise type(error)(
                    f"{name} on {some_names(list(dict.fromkeys(names)))}: {error}",
                    field=error.field,
                ) from error
            scores.append(found.double().cpu())
    split = list(torch.split(torch.cat(scores), [len(content.levels) for content in contents]))
    for content, values in zip(contents, split, strict=True):
        for level in _without_value(content, values):
            raise UndefinedScore(
                f"{name} gives {content.content} at level {level} a score that is not a number"
            )
    return split


def _originals(name: str, content: RankedContent) -> Tensor:
    """``(L, 3, H, W)``: the original beside each version."""
    if content.original is None:
        raise InvalidDataset(
            f"{content.content} has no original, and {name} compares an image with its original",
            field="scorer",
        )
    if content.original.shape != content.images.shape[1:]:
        raise InvalidDataset(
            f"{content.content}: its versions are {tuple(content.images.shape[1:])} and its "
            f"original {tuple(content.original.shape)}; {name} compares images of one size",
            field="scorer",
        )
    return content.original.expand_as(content.images)


def true_values(content: RankedContent, metric: str, first: str) -> Tensor:
    """What a metric says of the versions of a content.

    Args:
        content: of a source.
        metric: whose values.
        first: the metric that orders the source.

    Returns:
        ``(L,)`` float64 on the CPU, infinite perhaps.

    Raises:
        InvalidDataset: it has none, or one is NaN.
    """
    values = content.scores if metric == first else content.further.get(metric)
    if values is None:
        raise InvalidDataset(f"{content.content} has no values of {metric}", field=metric)
    for level in _without_value(content, values):
        raise InvalidDataset(
            f"{content.content} has at level {level} a value of {metric} that is not a number",
            field="score",
        )
    return values.double().cpu()


def _without_value(content: RankedContent, values: Tensor) -> list[str]:
    """The levels at which a value is NaN."""
    return [
        level for level, nan in zip(content.levels, values.isnan().tolist(), strict=True) if nan
    ]


def _row(values: Tensor, content: RankedContent, levels: Sequence[str]) -> Tensor:
    """``(L,)`` from the values of the levels that a content has, NaN for the others."""
    row = torch.full((len(levels),), torch.nan, dtype=torch.float64)
    for level, value in zip(content.levels, values, strict=True):
        if level not in levels or content.levels.count(level) > 1:
            raise InvalidDataset(
                f"{content.content} has the level {level!r} "
                f"{'twice' if level in levels else 'which the dataset does not list'}",
                field="levels",
            )
        row[levels.index(level)] = value
    return row
