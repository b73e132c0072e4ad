from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.ranker import TrainConfig
from ranksrgan.ranker.batches import Batch, prefetched, read_batches

PAIRS = TrainConfig(sample="pairs", batch=2)


class Fixed:
    """A source of the pairs that it is given."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.given = pairs
        self.info = RankedInfo("m", False, ("x", "y"), 1, len(pairs), "f")

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        return iter(self.given)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        return iter(())

    def contents(self) -> Iterator[RankedContent]:
        return iter(())


def pair(label: float, side: int = 32) -> Pair:
    return Pair(torch.rand(3, side, side), torch.rand(3, side, side), label)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ranker-batches"]


def some(size: int, seed: int, sample: str = "pairs") -> TrainConfig:
    return TrainConfig.model_validate({"sample": sample, "batch": size, "seed": seed})


def test_of_pairs_first_members_then_second_ones(blur_set: PairSource) -> None:
    batch = next(read_batches(blur_set, some(5, 1), start=0))
    pairs = list(islice(blur_set.pairs(1), 5))
    assert batch.images.shape == (10, 3, 32, 32)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.group.tolist() == [0, 1, 2, 3, 4] * 2
    for i, (a, b, label) in enumerate(pairs):
        assert torch.equal(batch.images[i], a)
        assert torch.equal(batch.images[5 + i], b)
        assert batch.values[i] - batch.values[5 + i] == label


def test_of_contents_every_version_with_its_values(blur_set: PairSource) -> None:
    batch = next(read_batches(blur_set, some(4, 1, "contents"), start=0))
    contents = list(islice(blur_set.shuffled_contents(1), 4))
    assert torch.equal(batch.images, torch.cat([content.images for content in contents]))
    assert torch.equal(batch.values[:, 0], torch.cat([c.scores for c in contents]).float())
    assert batch.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_some_versions_of_each_content_in_their_order(blur_set: PairSource) -> None:
    config = TrainConfig(versions=2, batch=60, seed=1)
    batch = next(read_batches(blur_set, config, start=0))
    contents = list(islice(blur_set.shuffled_contents(1), 60))
    drawn = set()
    for i, content in enumerate(contents):
        rows = slice(2 * i, 2 * i + 2)
        chosen = [
            next(p for p in range(3) if torch.equal(content.images[p], image))
            for image in batch.images[rows]
        ]
        assert batch.group[rows].tolist() == [i, i]
        assert torch.equal(batch.values[rows, 0], content.scores[chosen].float())
        drawn.add(tuple(chosen))
    assert drawn == {(0, 1), (0, 2), (1, 2)}
    later = next(read_batches(blur_set, config, start=1))
    second = next(islice(read_batches(blur_set, config, start=0), 1, None))
    assert torch.equal(later.images, second.images)
    every = next(read_batches(blur_set, TrainConfig(versions=9, batch=60, seed=1), start=0))
    assert torch.equal(every.images, torch.cat([content.images for content in contents]))


def test_some_versions_bring_their_further_values(
    source_of: Callable[..., PairSource], content_of: Callable[[list[float]], RankedContent]
) -> None:
    values = [3.0, 1.0, 2.0, 7.0]
    content = content_of(values)._replace(further={"ma": 10 * torch.tensor(values)})
    config = TrainConfig(batch=1, versions=3, further=("ma",))
    batch = next(read_batches(source_of([content], further={"ma": True}), config, start=0))
    assert len(batch.values) == 3
    assert torch.equal(batch.values[:, 1], 10 * batch.values[:, 0])


def test_further_metrics_are_columns(
    source_of: Callable[..., PairSource], content_of: Callable[[list[float]], RankedContent]
) -> None:
    content = content_of([3.0, 1.0])._replace(further={"ma": torch.tensor([5.0, 6.0])})
    config = TrainConfig(batch=1, further=("ma",))
    batch = next(read_batches(source_of([content], further={"ma": True}), config, start=0))
    assert batch.values.tolist() == [[3.0, 5.0], [1.0, 6.0]]
    with pytest.raises(InvalidDataset, match="blur orders the rank dataset") as caught:
        read_batches(source_of([content]), TrainConfig(batch=1, further=("blur",)), start=0)
    assert caught.value.field == "further"
    with pytest.raises(InvalidDataset, match=r"no values of ma; beside blur it has none"):
        read_batches(source_of([content]), config, start=0)


def test_as_published_one_pair_of_a_content_in_the_order_of_the_levels(
    blur_set: PairSource,
) -> None:
    config = TrainConfig(as_published=True, losses={"margin": 1.0}, batch=60)
    batch = next(read_batches(blur_set, config, start=0))
    contents = list(islice(blur_set.shuffled_contents(0), 60))
    drawn = set()
    for i, content in enumerate(contents):
        places = [
            next(p for p in range(3) if torch.equal(content.images[p], batch.images[row]))
            for row in (i, 60 + i)
        ]
        assert places[0] < places[1]
        assert batch.values[i] < batch.values[60 + i]  # the first level is the sharpest
        drawn.add(tuple(places))
    assert drawn == {(0, 1), (0, 2), (1, 2)}
    again = next(read_batches(blur_set, config, start=0))
    assert torch.equal(batch.images, again.images)


@pytest.mark.parametrize("sample", ["pairs", "contents"])
def test_start_continues_the_stream(blur_set: PairSource, sample: str) -> None:
    config = some(7, 2, sample)
    whole = list(islice(read_batches(blur_set, config, start=0), 60))
    rest = list(islice(read_batches(blur_set, config, start=45), 15))
    for left, right in zip(whole[45:], rest, strict=True):
        assert torch.equal(left.images, right.images)
        assert torch.equal(left.values, right.values)


@pytest.mark.parametrize("sample", ["pairs", "contents"])
def test_processes_share_the_joint_batch(blur_set: PairSource, sample: str) -> None:
    config = some(6, 3, sample)
    joint = next(islice(read_batches(blur_set, config, start=0), 4, None))
    shares = [
        next(read_batches(blur_set, config, start=4, rank=rank, processes=3)) for rank in range(3)
    ]
    rows = {image.numpy().tobytes() for share in shares for image in share.images}
    assert rows == {image.numpy().tobytes() for image in joint.images}
    assert sum(len(share.images) for share in shares) == len(joint.images)
    with pytest.raises(InvalidConfig, match="batch: 6 does not divide by 4 processes"):
        read_batches(blur_set, config, start=0, rank=0, processes=4)


@pytest.mark.parametrize("label", [float("nan"), 0.5, 2.0])
def test_a_label_that_is_none(label: float) -> None:
    with pytest.raises(InvalidDataset, match="label"):
        next(read_batches(Fixed([pair(1), pair(label)]), PAIRS, start=0))


def test_sizes_that_differ() -> None:
    with pytest.raises(InvalidDataset, match=r"\(3, 32, 32\), \(3, 40, 40\)"):
        next(read_batches(Fixed([pair(1), pair(1, 40)]), PAIRS, start=0))


def test_no_pairs() -> None:
    with pytest.raises(InvalidDataset, match="no pairs"):
        read_batches(Fixed([]), PAIRS, start=0)


def test_a_source_that_ends() -> None:
    batches = read_batches(Fixed([pair(1), pair(1), pair(1)]), PAIRS, start=0)
    next(batches)
    with pytest.raises(InvalidDataset, match="ended"):
        next(batches)


def test_prefetched_keeps_the_order_and_its_thread_ends(blur_set: PairSource) -> None:
    plain = list(islice(read_batches(blur_set, some(3, 0), start=0), 9))
    with prefetched(read_batches(blur_set, some(3, 0), start=0), pin=False) as batches:
        read = list(islice(batches, 9))
        assert readers()
    assert not readers()
    for left, right in zip(plain, read, strict=True):
        assert torch.equal(left.images, right.images)


def test_prefetched_raises_what_the_reader_raised(
    content_of: Callable[[list[float]], RankedContent],
) -> None:
    def failing() -> Iterator[Batch]:
        yield Batch(torch.zeros(2, 3, 32, 32), torch.zeros(2, 1), torch.zeros(2).long())
        raise InvalidDataset("crop 7 is gone")

    with prefetched(failing(), pin=False) as batches:
        next(batches)
        with pytest.raises(InvalidDataset, match="crop 7"):
            next(batches)
    assert not readers()


def test_the_thread_ends_when_the_consumer_fails(blur_set: PairSource) -> None:
    with (
        pytest.raises(RuntimeError, match="network"),
        prefetched(read_batches(blur_set, some(3, 0), start=0), pin=False),
    ):
        raise RuntimeError("network")
    assert not readers()
