"""From ranked images to batches, decoded while the network computes."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent
from ranksrgan.ranker.config import TrainConfig

#: Batches that may lie ready.
AHEAD = 4

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
        config: its ``sample``, ``versions``, ``batch``, ``seed``, ``further`` and ``as_published``.
        start: how many batches to leave out.
        rank: which process this is.
        processes: how many share each batch; ``config.batch`` is a multiple of it.

    Returns:
        This process's share of every batch. Of pairs, and as published, all first members come
        before all second ones; otherwise the versions of one content stand together.

    Raises:
        InvalidDataset: the source has no pairs, ends, lacks a further metric or is ordered by it,
            or contradicts itself.
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
    size, first = config.batch // processes, start * config.batch + rank
    if config.sample == "pairs":
        pairs = source.pairs(config.seed, first, processes)
        return map(_of_pairs, _lists(pairs, size))
    contents = source.shuffled_contents(config.seed, first, processes)
    numbered = zip(count(first, processes), contents)
    if config.as_published:
        drawn = (_draw_pair(content, config.seed, number) for number, content in numbered)
        return map(_of_pairs, _lists(drawn, size))
    if config.versions:
        contents = (_draw_versions(content, config, number) for number, content in numbered)
    return (_of_contents(batch, config.further) for batch in _lists(contents, size))


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


def _of_contents(contents: list[RankedContent], further: tuple[str, ...]) -> Batch:
    values = [
        torch.stack([content.scores, *(content.further[name] for name in further)], dim=1)
        for content in contents
    ]
    for content, of_content in zip(contents, values, strict=True):
        if not bool(of_content.isfinite().all()):
            raise InvalidDataset(
                f"{content.content} has a score that is not finite", field=content.content
            )
    sizes = torch.tensor([len(of_content) for of_content in values])
    return Batch(
        _joined([content.images for content in contents]),
        torch.cat(values).float(),
        torch.arange(len(contents)).repeat_interleave(sizes),
    )


def _draw_pair(content: RankedContent, seed: int, number: int) -> Pair:
    """One pair of a content's versions, in the order of the levels, as the published code draws."""
    pairs = torch.combinations(torch.arange(len(content.levels)), 2).tolist()
    a, b = pairs[_chance(f"pair {seed} {number}") % len(pairs)]
    label = torch.sign(content.scores[a] - content.scores[b])
    return Pair(content.images[a], content.images[b], float(label))


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


def _chance(what: str) -> int:
    """A number below 2^56 that nothing but ``what`` decides."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "big")


def _joined(images: list[Tensor]) -> Tensor:
    shapes = sorted({tuple(some.shape[1:]) for some in images})
    if len(shapes) > 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
        raise InvalidDataset(
            f"the images of a batch have shapes {', '.join(map(str, shapes))}; all should have "
            "the same (3, H, W)",
            field="images",
        )
    return torch.cat(images).contiguous(memory_format=torch.channels_last)
