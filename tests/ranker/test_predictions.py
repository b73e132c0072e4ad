from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidDataset,
    RequestCancelled,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics import create_scorer
from ranksrgan.ranker import VGG12, Ranker, predictions
from ranksrgan.ranker.predictions import Predictions, predict

Source = Callable[..., PairSource]


class FirstPixel:
    """A scorer whose value stands in an image's first pixel; it remembers what it was given."""

    def __init__(self, *, higher_is_better: bool = False, needs_reference: bool = False) -> None:
        self.info = ScorerInfo("first", "1", higher_is_better, needs_reference, False, 1)
        self.shapes: list[tuple[int, ...]] = []

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return images[:, 0, 0, 0].double()


def written(
    name: str,
    values: Sequence[float],
    truth: Sequence[float] | None = None,
    *,
    levels: Sequence[str] = "abcdefgh",
    size: tuple[int, int] = (4, 4),
    **further: Sequence[float],
) -> RankedContent:
    """A content whose images say ``values`` and whose metric says ``truth``, or else the same."""
    images = torch.rand(len(values), 3, *size)
    images[:, 0, 0, 0] = torch.tensor(values)
    scores = torch.tensor(values if truth is None else truth, dtype=torch.float64)
    others = {key: torch.tensor(row, dtype=torch.float64) for key, row in further.items()}
    return RankedContent(name, tuple(levels)[: len(values)], images, scores, others)


def only(found: dict[str, Predictions]) -> Predictions:
    (one,) = found.values()
    return one


def test_contents_of_any_shape_come_back_in_their_order(
    source_of: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "BATCH_PIXELS", 100)
    sizes = [(4, 4), (4, 8), (8, 4), (4, 4), (16, 16), (4, 8), (4, 4), (4, 4), (8, 4)]
    contents = [
        written(f"c{i}", [10 * i + level for level in range(3)], size=size)
        for i, size in enumerate(sizes)
    ]
    scorer = FirstPixel()
    found = only(predict({"first": scorer}, source_of(contents)))
    assert found.contents == tuple(f"c{i}" for i in range(9))
    expected = torch.tensor([[10 * i + level for level in range(3)] for i in range(9)]).double()
    assert torch.equal(found.predicted, expected)
    assert torch.equal(found.truth, expected)
    assert sum(shape[0] for shape in scorer.shapes) == 27
    for images, _, height, width in scorer.shapes:
        assert images == 1 or images * height * width <= 100
    assert max(shape[0] for shape in scorer.shapes) > 3  # several contents at once


def test_few_contents_wait(source_of: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "BATCH_PIXELS", 100)
    scorer = FirstPixel()
    source = source_of([written(f"c{i}", [1, 2], size=(4, 3 + i % 9)) for i in range(60)])
    read = 0

    class Watched:
        info = source.info

        def contents(self) -> Iterator[RankedContent]:
            nonlocal read
            for content in source.contents():
                done = sum(n * height * width for n, _, height, width in scorer.shapes)
                assert read - done < 100
                read += len(content.images) * content.images.shape[-2:].numel()
                yield content

    predict({"first": scorer}, Watched())  # type: ignore[dict-item]
    assert read == sum(n * height * width for n, _, height, width in scorer.shapes)


def test_a_batch_of_contents_scores_as_one_by_one(held_out: PairSource, source_of: Source) -> None:
    contents = list(held_out.contents())[::10]
    ranker = Ranker(
        VGG12(4, torch.Generator().manual_seed(0)), higher_is_better=False, device="cpu"
    )
    found = only(predict({"ranker": ranker}, source_of(contents)))
    alone = torch.stack([ranker.score(content.images) for content in contents])
    torch.testing.assert_close(found.predicted, alone, rtol=1e-4, atol=1e-5)


def test_several_scorers_read_the_contents_once(source_of: Source) -> None:
    source = source_of([written("c", [1, 2]), written("d", [4, 3])])
    reads = []

    class Counted:
        info = source.info

        def contents(self) -> Iterator[RankedContent]:
            reads.append(1)
            return source.contents()

    class Negative(FirstPixel):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            return -super().score(images)

    found = predict({"a": FirstPixel(), "b": Negative()}, Counted())  # type: ignore[dict-item]
    assert torch.equal(found["a"].predicted, -found["b"].predicted)
    assert len(reads) == 1


def test_levels_that_a_content_lacks(source_of: Source) -> None:
    contents = [
        written("all", [1, 2, 3], levels="abc"),
        written("two", [5, 4], levels="ca"),
        written("one", [6], levels="b"),
    ]
    found = only(predict({"first": FirstPixel()}, source_of(contents)))
    assert found.levels == ("a", "b", "c")
    nan = float("nan")
    expected = torch.tensor([[1, 2, 3], [4, nan, 5], [nan, 6, nan]], dtype=torch.float64)
    torch.testing.assert_close(found.truth, expected, equal_nan=True)
    torch.testing.assert_close(found.predicted, expected, equal_nan=True)
    assert torch.equal(found.present, ~expected.isnan())
    predicted, truth = found.by_image
    assert predicted.tolist() == truth.tolist() == [1, 2, 3, 4, 5, 6]


def test_another_metric_of_the_dataset(source_of: Source) -> None:
    contents = [written("c", [1, 2], pi=[8, 9], mos=[4, 3])]
    source = source_of(contents, further={"pi": False, "mos": True})
    found = only(predict({"first": FirstPixel()}, source, metric="pi"))
    assert (found.metric, found.higher_is_better, found.negated) == ("pi", False, False)
    assert found.truth.tolist() == [[8, 9]]
    turned = only(predict({"first": FirstPixel()}, source, metric="mos"))
    assert (turned.metric, turned.higher_is_better, turned.negated) == ("mos", True, True)
    assert turned.truth.tolist() == [[4, 3]]
    assert turned.predicted.tolist() == [[-1, -2]]  # rises with the opinion, as the truth does
    with pytest.raises(UnknownName, match=r"no values of 'ma'.* blur \(which .*\), pi, mos"):
        predict({"first": FirstPixel()}, source, metric="ma")
    lacking = source_of([written("c", [1, 2])], further={"pi": False})
    with pytest.raises(InvalidDataset, match="c has no values of pi"):
        predict({"first": FirstPixel()}, lacking, metric="pi")


def test_the_same_truth_beside_other_values(source_of: Source) -> None:
    contents = [written("c", [1, 2], levels="ab"), written("d", [3], levels="b")]
    source = source_of(contents)
    found = only(predict({"first": FirstPixel(higher_is_better=True)}, source))
    other = found.of(torch.tensor([7.0, 8.0]).double().expand(2, 2))
    expected = torch.tensor([[7, 8], [torch.nan, 8]], dtype=torch.float64)
    torch.testing.assert_close(other.predicted, expected, equal_nan=True)
    assert found.negated
    assert not other.negated


def test_what_contradicts_itself(source_of: Source) -> None:
    first = {"first": FirstPixel()}
    with pytest.raises(InvalidDataset, match="no contents"):
        predict(first, source_of([]))
    with pytest.raises(
        InvalidDataset, match="c has at level b a value of blur that is not a number"
    ):
        predict(first, source_of([written("c", [1, 2], [1, float("nan")])]))
    with pytest.raises(UndefinedScore, match="first gives c at level b a score that is not a num"):
        predict(first, source_of([written("c", [1, float("nan")], [1, 2])]))
    with pytest.raises(InvalidDataset, match="c has the level 'a' twice"):
        predict(first, source_of([written("c", [1, 2], levels="aa")]))
    known = source_of([written("c", [1, 2], levels="ab")])

    class Stranger:
        info = known.info

        def contents(self) -> Iterator[RankedContent]:
            yield written("c", [1, 2], levels="ax")

    with pytest.raises(InvalidDataset, match="c has the level 'x' which the dataset does not list"):
        predict(first, Stranger())  # type: ignore[arg-type]


class Distance(FirstPixel):
    """How far the first pixels of an image and of its original are apart."""

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is not None
        assert references.shape == images.shape
        return (references - images)[:, 0, 0, 0].double()


def test_a_scorer_with_references_gets_the_original_of_each_content(source_of: Source) -> None:
    """From its own place, or as the level hr, whatever is scored together."""
    one = written("one", [1, 2])._replace(reference=torch.full((3, 4, 4), 10.0))
    other = written("other", [3, 30], levels=["a", "hr"])
    scorers = {"distance": Distance(needs_reference=True)}
    source = source_of([one, other, one._replace(content="more")])
    found = only(predict(scorers, source)).predicted
    assert found[:, :2].tolist()[0] == [9, 8]
    assert found[1][~found[1].isnan()].tolist() == [27, 0]
    assert found[:, :2].tolist()[2] == [9, 8]


def test_contents_without_an_original_or_of_another_size(source_of: Source) -> None:
    psnr = {"psnr": FirstPixel(needs_reference=True)}
    with pytest.raises(InvalidDataset, match="c has no original, and psnr compares"):
        predict(psnr, source_of([written("c", [1, 2])]))
    small = written("c", [1, 2])._replace(reference=torch.rand(3, 4, 3))
    with pytest.raises(InvalidDataset, match=r"c: .* its original \(3, 4, 3\); psnr"):
        predict(psnr, source_of([small]))


def test_contents_that_are_too_small_are_named_with_the_scorer(source_of: Source) -> None:
    contents = [written("large", [0.1, 0.2], size=(200, 200)), written("small", [0.1, 0.2])]
    with pytest.raises(ImageTooSmall, match=r"^mine on small: .*4 x 4"):
        predict({"mine": create_scorer("niqe")}, source_of(contents))


def test_stops_when_nobody_waits(source_of: Source) -> None:
    scorer = FirstPixel()
    with cancellation.scope(lambda: False), pytest.raises(RequestCancelled):
        predict({"first": scorer}, source_of([written("c", [1, 2])]))
    assert scorer.shapes == []
