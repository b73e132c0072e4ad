"""From ranked images to batches, decoded while the network computes."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import NamedTuple, TypeVar

import torch
from torch import Size, Tensor

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.ranker.config import TrainConfig

#: Batches that may lie ready.
AHEAD = 4

#: What to do about contents of several sizes, and about infinite values.
_CROP = (
    "crop=N shows every content through a window of N x N pixels, batch=1 takes one content at a "
    "time"
)
_FINITE = (
    "a Ranker learns finite values: leave that metric out of further, or learn from a dataset "
    "without that level (PSNR of the original is infinite)"
)

Item = TypeVar("Item", Pair, RankedContent)


class Batch(NamedTuple):
    """Versions of several contents in the form that one forward pass takes."""

    images: Tensor  # (N, 3, H, W) float32, channels last
    values: Tensor  # (N, heads) float32, of the metrics; of pairs half their label, and minus it
    group: Tensor  # (N,) int64: which content, from 0 on


def read_batches(
    source: PairSource, config: TrainConfig, *, start: int, rank: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """Endless batches, from batch ``start`` on.

    Args:
        source: what to learn from.
        config: its ``sample``, ``versions``, ``crop``, ``batch``, ``seed``, ``further`` and
            ``as_published``.
        start: how many batches to leave out.
        rank: which process this is.
        processes: how many share each batch; ``config.batch`` is a multiple of it.

    Returns:
        This process's share of every batch. Of pairs, and as published, all first members come
        before all second ones; otherwise the versions of one content stand together.

    Raises:
        InvalidDataset: the source has no pairs, ends, lacks a further metric or is ordered by it,
            has infinite values of a metric that is learnt, contents of several sizes without a
            ``crop`` or smaller ones than it, or contradicts itself. At once, if its info tells.
        InvalidConfig: the batch does not divide by the processes.
    """
    if config.batch % processes:
        raise InvalidConfig(
            f"batch: {config.batch} does not divide by {processes} processes", field="batch"
        )
    if source.info.pairs < 1:
        raise InvalidDataset("the rank dataset has no pairs to learn from", field="pairs")
    if source.info.metric in config.further:
        raise InvalidDataset(
            f"{source.info.metric} orders the rank dataset and is learnt anyway; further names "
            "others",
            field="further",
        )
    missing = [name for name in config.further if name not in source.info.further]
    if missing:
        raise InvalidDataset(
            f"the rank dataset has no values of {missing[0]}; beside {source.info.metric} it has "
            f"{', '.join(source.info.further) or 'none'}",
            field="further",
        )
    _check_known(source.info, config)
    size, first = config.batch // processes, start * config.batch + rank
    if config.sample == "pairs":
        pairs = source.pairs(config.seed, first, processes)
        if config.crop:
            numbered_pairs = zip(count(first, processes), pairs)
            pairs = (_pair_through_window(pair, config, number) for number, pair in numbered_pairs)
        return map(_of_pairs, _lists(pairs, size))
    contents = source.shuffled_contents(config.seed, first, processes)
    if config.crop:
        whole = zip(count(first, processes), contents)
        contents = (_through_window(content, config, number) for number, content in whole)
    numbered = zip(count(first, processes), contents)
    if config.as_published:
        drawn = (_draw_pair(content, config.seed, number) for number, content in numbered)
        return map(_of_pairs, _lists(drawn, size))
    if config.versions:
        contents = (_draw_versions(content, config, number) for number, content in numbered)
    metrics = (source.info.metric, *config.further)
    return (_of_contents(batch, metrics) for batch in _lists(contents, size))


def _check_known(info: RankedInfo, config: TrainConfig) -> None:
    """Refuse now what a batch would be refused for, as far as the source's info tells."""
    if info.one_size is False and config.batch > 1 and not config.crop:
        raise InvalidDataset(
            f"the contents of the rank dataset differ in size, and a batch takes one size; {_CROP}",
            field="crop",
        )
    orders_alone = config.sample == "pairs" or config.as_published
    for metric in config.further if orders_alone else (info.metric, *config.further):
        if metric in info.infinite:
            raise InvalidDataset(
                f"{metric} is infinite at level {info.infinite[metric]} of the rank dataset; "
                f"{_FINITE}",
                field="further" if metric in config.further else "metric",
            )


@contextmanager
def prefetched(batches: Iterator[Batch], *, pin: bool) -> Iterator[Iterator[Batch]]:
    """Read ``batches`` ahead in a thread; what it raises is raised where they are consumed.

    Args:
        batches: the thread alone uses it.
        pin: put them into page-locked memory, from which a GPU copies without waiting.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=AHEAD)
    unwanted = threading.Event()

    def offer(item: Batch | BaseException) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for batch in batches:
                prepared = Batch(*(part.pin_memory() for part in batch)) if pin else batch
                if not offer(prepared):
                    return
        except BaseException as error:
            offer(error)

    def consume() -> Iterator[Batch]:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    reader = threading.Thread(target=read, name="ranker-batches", daemon=True)
    reader.start()
    try:
        yield consume()
    finally:
        unwanted.set()
        reader.join()


def _lists(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while len(batch := list(islice(items, size))) == size:
        yield batch
    raise InvalidDataset("the source of ranked images ended; it should go on with another epoch")


def _of_pairs(pairs: list[Pair]) -> Batch:
    labels = [float(pair.label) for pair in pairs]
    wrong = [label for label in labels if label not in (-1.0, 0.0, 1.0)]
    if wrong:
        raise InvalidDataset(f"a pair has label {wrong[0]}; -1, 0 and +1 are right", field="label")
    images = [pair.a[None] for pair in pairs] + [pair.b[None] for pair in pairs]
    half = torch.tensor(labels)[:, None] / 2
    return Batch(_joined(images), torch.cat([half, -half]), torch.arange(len(pairs)).repeat(2))


def _of_contents(contents: list[RankedContent], metrics: tuple[str, ...]) -> Batch:
    values = [
        torch.stack([content.scores, *(content.further[name] for name in metrics[1:])], dim=1)
        for content in contents
    ]
    for content, of_content in zip(contents, values, strict=True):
        for level, column in (~of_content.isfinite()).nonzero().tolist():
            raise InvalidDataset(
                f"{content.content} has at level {content.levels[level]} a value of "
                f"{metrics[column]} that is not finite; {_FINITE}",
                field=content.content,
            )
    sizes = torch.tensor([len(of_content) for of_content in values])
    names = [content.content for content in contents]
    return Batch(
        _joined([content.images for content in contents], names),
        torch.cat(values).float(),
        torch.arange(len(contents)).repeat_interleave(sizes),
    )


def _draw_pair(content: RankedContent, seed: int, number: int) -> Pair:
    """One pair of a content's versions, in the order of the levels, as the published code draws."""
    pairs = torch.combinations(torch.arange(len(content.levels)), 2).tolist()
    a, b = pairs[_chance(f"pair {seed} {number}") % len(pairs)]
    one, other = float(content.scores[a]), float(content.scores[b])
    difference = 0.0 if one == other else one - other  # infinity less infinity is none
    return Pair(content.images[a], content.images[b], float(torch.sign(torch.tensor(difference))))


def _draw_versions(content: RankedContent, config: TrainConfig, number: int) -> RankedContent:
    """``config.versions`` of a content's versions, in their order; all if it has no more."""
    generator = torch.Generator().manual_seed(_chance(f"versions {config.seed} {number}"))
    shuffled = torch.randperm(len(content.levels), generator=generator)
    chosen = shuffled[: config.versions].sort().values
    return content._replace(
        levels=tuple(content.levels[k] for k in chosen.tolist()),
        images=content.images[chosen],
        scores=content.scores[chosen],
        further={name: values[chosen] for name, values in content.further.items()},
    )


def _through_window(content: RankedContent, config: TrainConfig, number: int) -> RankedContent:
    """A content's versions through one window of ``config.crop`` pixels a side."""
    rows, columns = _window(content.images.shape[-2:], config, number, content.content)
    return content._replace(images=content.images[..., rows, columns], reference=None)


def _pair_through_window(pair: Pair, config: TrainConfig, number: int) -> Pair:
    rows, columns = _window(pair.a.shape[-2:], config, number, "an image of a pair")
    return Pair(pair.a[..., rows, columns], pair.b[..., rows, columns], pair.label)


def require_room(size: Sequence[int], config: TrainConfig, what: str) -> None:
    """Refuse contents, of a height and width, that have no window of ``config.crop`` pixels.

    Raises:
        InvalidDataset: calls them ``what``.
    """
    height, width = size
    if min(size) < config.crop:
        raise InvalidDataset(
            f"{what} is {width} x {height} pixels and has no window of crop={config.crop}: "
            f"{min(size)} is the largest crop for it",
            field="crop",
        )


def _window(size: Size, config: TrainConfig, number: int, what: str) -> tuple[slice, slice]:
    """Rows and columns that the seed and the number of what is seen decide, on any machine."""
    require_room(size, config, what)
    (height, width), side = size, config.crop
    top = _chance(f"top {config.seed} {number}") % (height - side + 1)
    left = _chance(f"left {config.seed} {number}") % (width - side + 1)
    return slice(top, top + side), slice(left, left + side)


def _chance(what: str) -> int:
    """A number below 2^56 that nothing but ``what`` decides."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "big")


def _joined(images: list[Tensor], names: Sequence[str] = ()) -> Tensor:
    """All images in one tensor.

    Args:
        images: ``(N, 3, H, W)`` each.
        names: of what they show, if known.
    """
    shapes = sorted({tuple(some.shape[1:]) for some in images})
    if any(len(shape) != 3 or shape[0] != 3 for shape in shapes):
        raise InvalidDataset(
            f"the images of a batch have shapes {', '.join(map(str, shapes))}; (3, H, W) is right",
            field="images",
        )
    if len(shapes) > 1:
        of_shape = {tuple(some.shape[1:]): name for some, name in zip(images, names, strict=False)}
        sizes = [
            f"{of_shape.get(shape, 'one')} is {shape[2]} x {shape[1]} pixels" for shape in shapes
        ]
        raise InvalidDataset(
            f"the images of a batch differ in size: {' and '.join(sizes[:2])}; {_CROP}",
            field="crop",
        )
    return torch.cat(images).contiguous(memory_format=torch.channels_last)
