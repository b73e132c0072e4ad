from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice

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
    says = r"one is 32 x 32 pixels and one is 40 x 40 pixels; crop=N shows"
    with pytest.raises(InvalidDataset, match=says):
        next(read_batches(Fixed([pair(1), pair(1, 40)]), PAIRS, start=0))
    grey = Pair(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), 1.0)
    with pytest.raises(InvalidDataset, match=r"shapes \(1, 8, 8\); \(3, H, W\) is right"):
        next(read_batches(Fixed([grey, grey]), PAIRS, start=0))


class Several:
    """Contents of several sizes, which say where each pixel lies; the versions differ in blue."""

    def __init__(self, sizes: list[tuple[int, int]], *, knows: bool | None = None) -> None:
        self.all = [self._content(number, *size) for number, size in enumerate(sizes)]
        facts = ("m", False, ("x", "y"), len(sizes), len(sizes), "f")
        self.info = RankedInfo(*facts, one_size=knows)

    def _content(self, number: int, height: int, width: int) -> RankedContent:
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        images = [torch.stack([rows, columns, torch.full_like(rows, k)]).float() for k in (0, 1)]
        scores = torch.tensor([1.0, 2.0], dtype=torch.float64)
        return RankedContent(f"c{number}", ("x", "y"), torch.stack(images), scores)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        return islice(cycle(self.all), start, None, step)

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        return (Pair(*c.images, -1.0) for c in self.shuffled_contents(seed, start, step))

    def contents(self) -> Iterator[RankedContent]:
        return iter(self.all)


SIZES = [(20, 9), (9, 30), (40, 40)]


@pytest.mark.parametrize("sample", ["contents", "pairs", "as_published"])
def test_contents_of_several_sizes_through_windows_of_one(sample: str) -> None:
    published = {"as_published": True, "losses": {"margin": 1.0}}
    kind = published if sample == "as_published" else {"sample": sample}
    config = TrainConfig.model_validate({"batch": 6, "crop": 8, "seed": 3, **kind})
    source = Several(SIZES, knows=False)
    batches = list(islice(read_batches(source, config, start=0), 3))
    corners = set()
    for batch in batches:
        assert batch.images.shape == (12, 3, 8, 8)
        for content in range(6):
            first, second = batch.images[batch.group == content]
            assert torch.equal(first[:2], second[:2])  # both versions through one window
            assert torch.equal(second[2] - first[2], torch.ones(8, 8))
            top, left = (int(first[k, 0, 0]) for k in (0, 1))
            height, width = SIZES[content % 3]
            assert torch.equal(first[0, :, 0], torch.arange(top, top + 8.0))
            assert top + 8 <= height
            assert left + 8 <= width
            corners.add((top, left))
    assert len(corners) > 12  # drawn anew for each
    later = next(read_batches(source, config, start=2))
    assert torch.equal(later.images, batches[2].images)
    shares = [next(read_batches(source, config, start=2, rank=r, processes=2)) for r in (0, 1)]
    rows = {image.numpy().tobytes() for share in shares for image in share.images}
    assert rows == {image.numpy().tobytes() for image in later.images}
    other = config.model_copy(update={"seed": 4})
    assert not torch.equal(next(read_batches(source, other, start=2)).images, later.images)


def test_a_content_smaller_than_the_window_is_named() -> None:
    config = TrainConfig(batch=3, crop=10)
    with pytest.raises(InvalidDataset, match=r"c0 is 9 x 20 pixels .* crop=10: 9 is the largest"):
        next(read_batches(Several(SIZES), config, start=0))
    with pytest.raises(ValueError, match="jitter: 8 leaves nothing of crop=8"):
        TrainConfig(crop=8, jitter=8)


def test_contents_of_several_sizes_without_a_window() -> None:
    config = TrainConfig(batch=2)
    with pytest.raises(InvalidDataset, match=r"differ in size, .*crop=N .*batch=1") as caught:
        read_batches(Several(SIZES, knows=False), config, start=0)
    assert caught.value.field == "crop"
    says = "c1 is 30 x 9 pixels and c0 is 9 x 20 pixels; crop=N"
    with pytest.raises(InvalidDataset, match=f"differ in size: {says}"):
        next(read_batches(Several(SIZES), config, start=0))
    single = read_batches(Several(SIZES, knows=False), TrainConfig(batch=1), start=0)
    assert [next(single).images.shape[2:] for _ in SIZES] == SIZES


def test_infinite_values_are_refused_where_values_are_learnt() -> None:
    source = Several([(8, 8)])
    infinite = torch.tensor([7.0, math.inf], dtype=torch.float64)
    source.all = [source.all[0]._replace(scores=infinite, further={"psnr": infinite})]
    source.info = replace(source.info, further={"psnr": True})
    both = TrainConfig(batch=1, further=("psnr",))
    with pytest.raises(InvalidDataset, match="c0 has at level y a value of m that is not finite"):
        next(read_batches(source, TrainConfig(batch=1), start=0))
    source.all = [source.all[0]._replace(scores=torch.tensor([1.0, 2.0], dtype=torch.float64))]
    with pytest.raises(InvalidDataset, match="c0 has at level y a value of psnr that is not"):
        next(read_batches(source, both, start=0))
    source.info = replace(source.info, infinite={"psnr": "y"})
    with pytest.raises(InvalidDataset, match=r"psnr is infinite at level y .*leave that") as caught:
        read_batches(source, both, start=0)
    assert caught.value.field == "further"
    source.info = replace(source.info, infinite={"m": "y"})
    with pytest.raises(InvalidDataset, match="m is infinite at level y"):
        read_batches(source, TrainConfig(batch=1), start=0)
    # An order is all that these learn.
    source.all = [source.all[0]._replace(scores=infinite)]
    for kind in ({"sample": "pairs"}, {"as_published": True, "losses": {"margin": 1.0}}):
        config = TrainConfig.model_validate({"batch": 1, **kind})
        assert next(read_batches(source, config, start=0)).values.tolist() == [[-0.5], [0.5]]


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
