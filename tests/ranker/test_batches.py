from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.ranker.batches import Batch, prefetched, read_batches


class Fixed:
    """A source of the pairs that it is given."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.given = pairs
        self.info = RankedInfo("m", False, ("x", "y"), 1, len(pairs), "f")

    def pairs(self, seed: int, start: int = 0) -> Iterator[Pair]:
        return iter(self.given)

    def contents(self) -> Iterator[RankedContent]:
        return iter(())


def pair(label: float, side: int = 32) -> Pair:
    return Pair(torch.rand(3, side, side), torch.rand(3, side, side), label)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ranker-batches"]


def test_first_members_then_second_ones(blur_set: PairSource) -> None:
    batch = next(read_batches(blur_set, size=5, seed=1, start=0))
    pairs = list(islice(blur_set.pairs(1), 5))
    assert batch.images.shape == (10, 3, 32, 32)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for i, (a, b, label) in enumerate(pairs):
        assert torch.equal(batch.images[i], a)
        assert torch.equal(batch.images[5 + i], b)
        assert batch.labels[i] == label


def test_start_continues_the_stream(blur_set: PairSource) -> None:
    whole = list(islice(read_batches(blur_set, size=7, seed=2, start=0), 60))
    rest = list(islice(read_batches(blur_set, size=7, seed=2, start=45), 15))
    for left, right in zip(whole[45:], rest, strict=True):
        assert torch.equal(left.images, right.images)
        assert torch.equal(left.labels, right.labels)


@pytest.mark.parametrize("label", [float("nan"), 0.5, 2.0])
def test_a_label_that_is_none(label: float) -> None:
    with pytest.raises(InvalidDataset, match="label"):
        next(read_batches(Fixed([pair(1), pair(label)]), size=2, seed=0, start=0))


def test_sizes_that_differ() -> None:
    with pytest.raises(InvalidDataset, match=r"\(3, 32, 32\), \(3, 40, 40\)"):
        next(read_batches(Fixed([pair(1), pair(1, 40)]), size=2, seed=0, start=0))


def test_no_pairs() -> None:
    with pytest.raises(InvalidDataset, match="no pairs"):
        next(read_batches(Fixed([]), size=2, seed=0, start=0))


def test_a_source_that_ends() -> None:
    batches = read_batches(Fixed([pair(1), pair(1), pair(1)]), size=2, seed=0, start=0)
    next(batches)
    with pytest.raises(InvalidDataset, match="ended"):
        next(batches)


def test_prefetched_keeps_the_order_and_its_thread_ends(blur_set: PairSource) -> None:
    plain = list(islice(read_batches(blur_set, size=3, seed=0, start=0), 9))
    with prefetched(read_batches(blur_set, size=3, seed=0, start=0), pin=False) as batches:
        read = list(islice(batches, 9))
        assert readers()
    assert not readers()
    for left, right in zip(plain, read, strict=True):
        assert torch.equal(left.images, right.images)


def test_prefetched_raises_what_the_reader_raised(
    content_of: Callable[[list[float]], RankedContent],
) -> None:
    def failing() -> Iterator[Batch]:
        yield Batch(torch.zeros(2, 3, 32, 32), torch.zeros(1))
        raise InvalidDataset("crop 7 is gone")

    with prefetched(failing(), pin=False) as batches:
        next(batches)
        with pytest.raises(InvalidDataset, match="crop 7"):
            next(batches)
    assert not readers()


def test_the_thread_ends_when_the_consumer_fails(blur_set: PairSource) -> None:
    with (
        pytest.raises(RuntimeError, match="network"),
        prefetched(read_batches(blur_set, size=3, seed=0, start=0), pin=False),
    ):
        raise RuntimeError("network")
    assert not readers()
