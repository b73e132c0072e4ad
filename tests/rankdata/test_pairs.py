from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts import Pair, PairSource, open_pair_source
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import read_image, to_tensor
from ranksrgan.rankdata import FolderPairSource, PairDataset, RankDataset, open_rank_dataset
from ranksrgan.rankdata.crops import LevelImages
from ranksrgan.rankdata.pairs import order

SHARED = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _same(left: Pair, right: Pair) -> bool:
    return (
        torch.equal(left.a, right.a) and torch.equal(left.b, right.b) and left.label == right.label
    )


def _score_of(dataset: RankDataset) -> Callable[[Tensor], float]:
    """The score of a crop by its pixels, read from the files without the package's help."""
    known: dict[bytes, float] = {}
    for content in dataset.contents:
        for level, score in zip(dataset.levels, content.scores, strict=True):
            image = to_tensor(read_image(dataset.image_path(level, content.source)))[0]
            crop = image[:, content.top : content.top + 8, content.left : content.left + 8]
            known[crop.numpy().tobytes()] = score
    return lambda crop: known[crop.mul(255).round().byte().numpy().tobytes()]


def test_labels_follow_the_scores(by_hand: RankDataset) -> None:
    score = _score_of(by_hand)
    pairs = PairDataset(by_hand)
    # 3 + 2 + 3 + 0 of train and 3 + 3 of val: four of eighteen are ties
    assert len(pairs) == 14
    for index in range(len(pairs)):
        pair = pairs[index]
        assert pair.a.dtype == torch.float32
        assert pair.a.shape == (3, 8, 8)
        assert pair.label == (1.0 if score(pair.a) > score(pair.b) else -1.0)


def test_stream_labels_follow_the_scores_after_the_swap(by_hand: RankDataset) -> None:
    score = _score_of(by_hand)
    source = FolderPairSource(PairDataset(by_hand, ties="keep"))
    labels: Counter[float] = Counter()
    for pair in islice(source.pairs(seed=5), 10 * source.info.pairs):
        a, b = score(pair.a), score(pair.b)
        assert pair.label == float((a > b) - (a < b))
        labels[pair.label] += 1
    # Neither sign can be guessed from the position; 4 of 18 pairs are ties.
    assert labels[0.0] == 40
    assert abs(labels[1.0] - labels[-1.0]) < 40


def test_an_epoch_has_every_pair_once_and_epochs_differ(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand, "train"))
    size = source.info.pairs
    assert size == 8
    stream = list(islice(source.pairs(seed=1), 3 * size))

    def keys(pairs: list[Pair]) -> list[frozenset[bytes]]:
        return [frozenset((p.a.numpy().tobytes(), p.b.numpy().tobytes())) for p in pairs]

    epochs = [keys(stream[start : start + size]) for start in range(0, 3 * size, size)]
    assert all(set(epoch) == set(epochs[0]) and len(set(epoch)) == size for epoch in epochs)
    assert epochs[0] != epochs[1]


@SHARED
@given(seed=st.integers(0, 2**63), start=st.integers(0, 60))
def test_resumed_stream_is_the_uninterrupted_one(
    by_hand: RankDataset, seed: int, start: int
) -> None:
    source = FolderPairSource(PairDataset(by_hand))
    whole = list(islice(source.pairs(seed), start + 20))
    resumed = list(islice(source.pairs(seed, start=start), 20))
    assert all(_same(a, b) for a, b in zip(whole[start:], resumed, strict=True))


def test_seeds_give_different_orders(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand))
    first, second = (list(islice(source.pairs(seed), 14)) for seed in (0, 1))
    assert not all(_same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("ties", "min_gap", "pairs"),
    [("drop", 0.0, 14), ("keep", 0.0, 18), ("drop", 0.5, 13), ("drop", 1.0, 6), ("keep", 1.0, 18)],
)
def test_tie_policy(by_hand: RankDataset, ties: str, min_gap: float, pairs: int) -> None:
    options = {"ties": ties, "min_gap": str(min_gap)}
    assert open_rank_dataset(str(by_hand.folder), options).info.pairs == pairs


@given(a=st.floats(allow_nan=False), b=st.floats(allow_nan=False), gap=st.floats(0, 10))
def test_order_is_antisymmetric_and_respects_the_gap(a: float, b: float, gap: float) -> None:
    assert order(a, b, gap) == -order(b, a, gap)
    assert (order(a, b, gap) == 0) == (a == b or abs(a - b) <= gap)
    assert order(a, b) == float((a > b) - (a < b))


def test_contents_come_whole_and_in_order(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand, "val"))
    contents = list(source.contents())
    assert [content.content for content in contents] == ["three@0,2", "three@4,2"]
    assert contents[0].levels == ("low", "mid", "high")
    assert contents[0].scores.tolist() == [6.0, 4.0, 4.5]
    assert contents[0].scores.dtype == torch.float64
    assert contents[0].images.shape == (3, 3, 8, 8)
    image = to_tensor(read_image(by_hand.image_path("high", "three")))[0]
    assert torch.equal(contents[1].images[2], image[:, 4:12, 2:10].float() / 255)


def _with_kinds(dataset: RankDataset, kinds: dict[str, str]) -> RankDataset:
    levels = tuple(
        level.model_copy(update={"kind": kinds.get(level.name, level.kind)})
        for level in dataset.record.levels
    )
    return replace(dataset, record=dataset.record.model_copy(update={"levels": levels}))


@pytest.mark.parametrize("levels", [("low", "first"), ("hr", "first")])
def test_the_original_is_the_level_of_its_kind(
    write_dataset: Callable[..., Path], levels: tuple[str, str]
) -> None:
    """Whatever its name; older datasets may have a level hr that is something else."""
    folder = write_dataset({("one", "train", 0): (5.0, 4.0)}, levels=levels)
    dataset = _with_kinds(RankDataset.open(folder), {"first": "hr"})
    (content,) = FolderPairSource(PairDataset(dataset)).contents()
    assert content.original is not None
    assert torch.equal(content.original, content.images[1])
    assert not torch.equal(content.original, content.images[0])


def test_the_level_hr_is_not_told_twice(write_dataset: Callable[..., Path]) -> None:
    folder = write_dataset({("one", "train", 0): (5.0, 4.0)}, levels=("low", "hr"))
    dataset = _with_kinds(RankDataset.open(folder), {"hr": "hr"})
    (content,) = FolderPairSource(PairDataset(dataset)).contents()
    assert content.reference is None
    assert content.original is not None
    assert torch.equal(content.original, content.images[1])


def test_info(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand, "val"))
    assert isinstance(source, PairSource)
    assert (source.info.metric, source.info.higher_is_better) == ("niqe", False)
    assert (source.info.contents, source.info.pairs) == (2, 6)
    prints = {
        FolderPairSource(PairDataset(by_hand, split, ties=ties)).info.fingerprint
        for split in (None, "train", "val")
        for ties in ("drop", "keep")
    }
    assert len(prints) == 6


def test_info_says_what_a_batch_could_not_hold(write_dataset: Callable[..., Path]) -> None:
    scores = {("a", "train", 0): (1.0, 2.0), ("a", "train", 8): (1.0, math.inf)}
    dataset = RankDataset.open(write_dataset(scores))
    info = FolderPairSource(PairDataset(dataset)).info
    assert (info.one_size, info.infinite) == (True, {"niqe": "high"})
    assert info.widest == {"niqe": math.inf}
    first, second = dataset.contents
    # A content that is a tie is in no batch.
    contents = (first, second._replace(width=6, scores=(1.0, 1.0)))
    info = FolderPairSource(PairDataset(replace(dataset, contents=contents))).info
    assert (info.one_size, info.infinite, info.widest) == (True, {}, {"niqe": 1.0})
    contents = (first, second._replace(width=6, scores=(1.0, 3.0)))
    assert FolderPairSource(PairDataset(replace(dataset, contents=contents))).info.one_size is False


def test_found_through_the_entry_point(by_hand: RankDataset) -> None:
    source = open_pair_source(str(by_hand.folder), split="train")
    assert source.info.contents == 4
    direct = open_rank_dataset(str(by_hand.folder), {"split": "train"})
    assert source.info == direct.info


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"splitt": "train"},
            "unknown option splitt; a rank dataset takes images, min_gap, split, ties",
        ),
        ({"ties": "guess"}, "ties=guess: drop or keep"),
        ({"min_gap": "wide"}, "min_gap=wide"),
        ({"min_gap": "-1"}, "min_gap=-1"),
        ({"min_gap": "nan"}, "min_gap=nan"),
        ({"split": "test"}, "no split 'test'"),
    ],
)
def test_bad_options(by_hand: RankDataset, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        open_rank_dataset(str(by_hand.folder), options)


def test_only_ties(write_dataset: Callable[..., Path]) -> None:
    folder = write_dataset({("one", "train", 0): (1.0, 1.0)})
    source = open_rank_dataset(str(folder), {})
    assert source.info.pairs == 0
    with pytest.raises(InvalidDataset, match="every pair is a tie"):
        source.pairs(0)
    assert len(list(source.contents())) == 1


def test_negative_start(by_hand: RankDataset) -> None:
    with pytest.raises(InvalidInput, match="start=-1"):
        FolderPairSource(PairDataset(by_hand)).pairs(0, start=-1)


def test_images_are_decoded_once_while_there_is_room(by_hand: RankDataset) -> None:
    roomy = LevelImages(by_hand)
    tight = LevelImages(by_hand, capacity=24 * 16 * 3)  # one image
    one, _, _, three, *_ = by_hand.contents
    expected = roomy.crop("low", one)
    tight.crop("low", one)
    for level in by_hand.levels:
        for content in by_hand.contents:
            roomy.crop(level, content)
    by_hand.image_path("low", one.source).unlink()
    assert torch.equal(roomy.crop("low", one), expected)
    tight.crop("high", three)  # drives the first one out
    with pytest.raises(InvalidInput, match=r"low/one\.png"):
        tight.crop("low", one)


def test_box_outside_of_the_image(write_dataset: Callable[..., Path]) -> None:
    folder = write_dataset({("one", "train", 20): (1.0, 2.0)})
    with pytest.raises(InvalidDataset, match="one@20,2, 8 x 8 pixels, lies outside"):
        PairDataset(RankDataset.open(folder))[0]


def test_works_in_a_data_loader(by_hand: RankDataset) -> None:
    loader = torch.utils.data.DataLoader(PairDataset(by_hand), batch_size=7)
    batches = list(loader)
    assert [tuple(batch.a.shape) for batch in batches] == [(7, 3, 8, 8)] * 2
    assert batches[0].label.dtype == torch.float64


def test_processes_that_step_share_the_stream(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand))
    whole = list(islice(source.pairs(seed=5), 30))
    for rank in range(3):
        share = islice(source.pairs(seed=5, start=rank, step=3), 10)
        for pair, expected in zip(share, whole[rank::3], strict=True):
            assert pair.label == expected.label
            assert torch.equal(pair.a, expected.a)
            assert torch.equal(pair.b, expected.b)


def test_shuffled_contents_are_those_with_an_order(by_hand: RankDataset) -> None:
    source = FolderPairSource(PairDataset(by_hand))
    names = [content.content for content in islice(source.shuffled_contents(seed=1), 25)]
    ordered = sorted(c.content for c in source.contents() if len(c.scores.unique()) > 1)
    assert len(ordered) == 5
    for start in range(0, 25, 5):
        assert sorted(names[start : start + 5]) == ordered
    assert len({tuple(names[start : start + 5]) for start in range(0, 25, 5)}) > 1
    again = islice(source.shuffled_contents(seed=1, start=7, step=2), 5)
    assert [content.content for content in again] == names[7:17:2]


@pytest.mark.parametrize(("start", "step", "field"), [(-1, 1, "start"), (0, 0, "step")])
def test_impossible_places_in_the_stream(
    by_hand: RankDataset, start: int, step: int, field: str
) -> None:
    source = FolderPairSource(PairDataset(by_hand))
    for stream in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidInput) as caught:
            stream(0, start, step)
        assert caught.value.field == field
