from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, UnknownName
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe
from ranksrgan.ranker.quality.opinions import Opinions

Make = Callable[..., PairSource]


def test_what_a_source_holds(learn: PairSource, graded_contents: list[RankedContent]) -> None:
    opinions = Opinions(learn)
    assert opinions.kinds == ("blur", "dct", "noise", "shrunk")
    assert len(opinions.every) == 6 * 12
    first = opinions.sets[0]
    assert torch.equal(first.images.float() / 255, graded_contents[0].images)
    assert first.kinds.tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1, 3, 3, 3]
    mean, deviation, higher_is_better = opinions.scale
    assert mean == pytest.approx(2, abs=0.1)
    assert deviation == pytest.approx((2 / 3) ** 0.5, abs=0.1)
    # A severity: what is above the mean is worse.
    assert not higher_is_better
    assert float(opinions.scale.standardise(torch.tensor([mean + deviation]))) == pytest.approx(-1)


def test_the_level_hr_is_a_reference(source_of: Make) -> None:
    images = torch.rand(3, 3, 8, 8).mul(255).round().div(255)
    scores = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    content = RankedContent("one", ("blur_1", "hr", "blur_2"), images, scores)
    (judged,) = Opinions(source_of([content])).sets
    assert torch.equal(judged.reference.float() / 255, images[1])


def test_a_batch_is_decided_by_seed_and_step(
    learn: PairSource, tiny: Callable[..., QualityConfig]
) -> None:
    opinions, config = Opinions(learn), tiny("wresnet", "crop=40")
    batch = opinions.batch(config, 5, opinions.scale)
    assert batch.images.shape == batch.references.shape == (6, 3, 40, 40)
    assert len(set(batch.group.tolist())) == 2
    again = opinions.batch(config, 5, opinions.scale)
    assert all(torch.equal(*parts) for parts in zip(batch, again, strict=True))
    other = opinions.batch(config, 6, opinions.scale)
    assert not torch.equal(batch.images, other.images)


def test_an_image_and_its_reference_are_seen_through_one_window(
    source_of: Make, tiny: Callable[..., QualityConfig], graded_contents: list[RankedContent]
) -> None:
    """Where versions are their references, every pair is equal, however cut and turned."""
    equal = [
        content._replace(images=content.original.expand_as(content.images))
        for content in graded_contents
        if content.original is not None
    ]
    opinions = Opinions(source_of(equal))
    for step in range(8):
        batch = opinions.batch(tiny("wresnet", "crop=33"), step, opinions.scale)
        assert torch.equal(batch.images, batch.references)


def test_more_versions_than_there_are_come_again(
    learn: PairSource, tiny: Callable[..., QualityConfig]
) -> None:
    opinions = Opinions(learn)
    batch = opinions.batch(tiny("wresnet", "references=7", "versions=13"), 0, opinions.scale)
    assert len(batch.images) == 7 * 13
    assert len(set(batch.group.tolist())) == 6


def test_bad_opinions(source_of: Make, graded_contents: list[RankedContent]) -> None:
    one = graded_contents[0]
    equal = one._replace(scores=torch.full((12,), 3.0, dtype=torch.float64))
    single = one._replace(levels=one.levels[:1], images=one.images[:1], scores=one.scores[:1])
    endless = one._replace(scores=one.scores / 0)
    bad = [
        (one._replace(reference=None), "reference0 has no reference"),
        (one._replace(reference=torch.rand(3, 32, 64)), r"\(3, 64, 64\) and its reference \(3, 32"),
        (equal, "all 12 opinions are 3: they say nothing of what is better"),
        (single, "1 judged image"),
        (endless, "not finite"),
    ]
    for content, message in bad:
        with pytest.raises(InvalidDataset, match=message) as caught:
            Opinions(source_of([content]))
        assert caught.value.field


def test_images_have_to_have_room(source_of: Make, graded_contents: list[RankedContent]) -> None:
    small = graded_contents[1]._replace(
        images=graded_contents[1].images[..., :40, :],
        reference=torch.rand(3, 40, 64),
    )
    opinions = Opinions(source_of([graded_contents[0], small]))
    opinions.check_crop(40, least=32)
    with pytest.raises(InvalidDataset, match="reference1 has a side of 40 pixels; 41"):
        opinions.check_crop(41, least=32)
    with pytest.raises(InvalidDataset, match="64 x 40, 64 x 64"):
        opinions.check_crop(0, least=32)


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(InvalidConfig, match=r"'vgg12' is none of .*radn"):
        load_quality_recipe("vgg12")
    with pytest.raises(InvalidConfig, match="did you mean versions"):
        load_quality_recipe("radn", None, ["version=3"])
    with pytest.raises(InvalidConfig, match="references x versions is 1"):
        load_quality_recipe("radn", None, ["references=1", "versions=1"])
    with pytest.raises(InvalidConfig, match="none has a weight"):
        load_quality_recipe("radn", None, ["losses={plcc: 0}"])
    with pytest.raises(InvalidConfig, match="pretrain"):
        load_quality_recipe("radn", None, ["pretrain=10", "steps=10"])
    with pytest.raises(UnknownName, match="small"):
        load_quality_recipe("radn", "tiny")
    assert load_quality_recipe("radn", "small").crop == 64
