"""From a source of labelled pairs to batches, decoded while the network computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.pairs import Pair, PairSource

#: Batches that may lie ready.
AHEAD = 4


class Batch(NamedTuple):
    """Labelled pairs in the form that one forward pass takes."""

    images: Tensor  # (2B, 3, H, W) float32: all first members, then all second ones
    labels: Tensor  # (B,) float32: +1, -1 or 0


def read_batches(source: PairSource, *, size: int, seed: int, start: int) -> Iterator[Batch]:
    """Endless batches of ``size`` pairs, from batch ``start`` on.

    Raises:
        InvalidDataset: the source has no pairs, a label is none, or sizes differ in a batch.
    """
    if source.info.pairs < 1:
        raise InvalidDataset("the rank dataset has no pairs to learn from", field="pairs")
    pairs = source.pairs(seed, start=start * size)
    while batch := list(islice(pairs, size)):
        if len(batch) < size:
            break
        yield _collate(batch)
    raise InvalidDataset("the source of pairs ended; it should go on with another epoch")


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


def _collate(pairs: list[Pair]) -> Batch:
    labels = [float(pair.label) for pair in pairs]
    wrong = [label for label in labels if label not in (-1.0, 0.0, 1.0)]
    if wrong:
        raise InvalidDataset(f"a pair has label {wrong[0]}; -1, 0 and +1 are right", field="label")
    images = [pair.a for pair in pairs] + [pair.b for pair in pairs]
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
        raise InvalidDataset(
            f"the images of a batch have shapes {', '.join(map(str, shapes))}; all should have "
            "the same (3, H, W)",
            field="images",
        )
    stacked = torch.stack(images).contiguous(memory_format=torch.channels_last)
    return Batch(stacked, torch.tensor(labels))
