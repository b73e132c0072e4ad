from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.errors import ImageTooSmall, InvalidConfig, InvalidInput, UndefinedScore
from ranksrgan.metrics import psnr, rmse, ssim
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.labels import Labels, score_crops


def _config(**settings: object) -> BuildConfig:
    required = {"hr": "in", "output": "out", "levels": {"a": "hr", "b": "bicubic", "c": "blur:2"}}
    return BuildConfig.model_validate(required | {"metric": "rmse", "crop": 32} | settings)


class _Brightness:
    """No score for black images, said of the whole batch; NaN for white ones."""

    info = ScorerInfo("brightness", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is None
        means = images.double().mean((1, 2, 3))
        if (means == 0).any():
            raise UndefinedScore("a black image")
        return torch.where(means == 255, math.nan, means)


def _crops() -> tuple[Tensor, Tensor]:
    crops = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    return crops, torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)


def test_label_and_further_metrics_of_each_crop() -> None:
    crops, references = _crops()
    labels = Labels.open(_config(further=["psnr", "ssim"]))
    assert labels.info.name == "rmse"
    assert labels.need_references
    found = labels.of(crops, references, 1)
    for row, crop, reference in zip(found, crops[:, None], references[:, None], strict=True):
        assert row == tuple(metric(crop, reference).item() for metric in (rmse, psnr, ssim))


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (lambda means: means[:, None], r"the shape \(4, 1\)"),
        (lambda means: means.mean(), r"the shape \(\)"),
        (lambda means: means[:3], r"the shape \(3,\)"),
        (lambda means: means.tolist(), r"a builtins\.list"),
    ],
)
def test_scores_that_are_not_one_for_each_crop(
    returned: Callable[[Tensor], object], problem: str
) -> None:
    class Own(_Brightness):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            return returned(super().score(images))  # type: ignore[return-value]

    message = rf"the scorer brightness returned {problem}; a torch\.Tensor \(4,\), a score for"
    with pytest.raises(InvalidInput, match=message) as refused:
        score_crops(Own(), torch.full((4, 3, 8, 8), 7, dtype=torch.uint8))
    assert refused.value.field == "brightness"


def test_order_is_the_place_in_the_list() -> None:
    labels = Labels.open(_config(label="order", metric="no-such-metric"))
    assert labels.of(_crops()[0], None, 3) == [(3.0,)] * 5
    assert not labels.need_references
    assert labels.info == ScorerInfo("order", "1", False, False, False, 1, lowest=1.0, highest=3.0)


def test_order_can_have_further_metrics() -> None:
    crops, references = _crops()
    found = Labels.open(_config(label="order", further=["rmse"])).of(crops, references, 2)
    assert found[3] == (2.0, rmse(crops[3:4], references[3:4]).item())


def test_sums_of_metrics_label_too() -> None:
    crops, references = _crops()
    labels = Labels.open(_config(metric="rmse-0.5*psnr"))
    assert not labels.info.higher_is_better
    expected = rmse(crops, references) - 0.5 * psnr(crops, references)
    assert [label for (label,) in labels.of(crops, references, 1)] == expected.tolist()


def test_what_has_no_score_says_why_and_under_which_further_metric() -> None:
    crops, references = _crops()
    crops[1], crops[3] = 0, 255
    scorer = _Brightness()
    assert score_crops(scorer, crops, references)[1:4:2] == ["undefined_score"] * 2
    found = Labels.open(_config(), scorer).of(crops, None, 1)
    assert [row if isinstance(row, str) else "" for row in found] == [
        *("", "undefined_score", "", "undefined_score", "")
    ]
    beside = Labels(Labels.open(_config(label="order")).info, None, (scorer,))
    assert beside.of(crops, None, 1)[3] == "undefined_score:brightness"
    assert beside.of(crops, None, 1)[4] == (1.0, crops[4].double().mean().item())


# The smallest side is not the one of the smallest square: two blocks of 96 x 96 are wanted.
_NIQE = r"^crop: 32 pixels a side are too few for niqe: both sides need 96; crop=192 would do$"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"further": ["psnr", "psnr"]}, InvalidConfig, "psnr is there already"),
        ({"further": ["rmse"]}, InvalidConfig, "rmse is there already"),
        ({"metric": "niqe"}, ImageTooSmall, _NIQE),
        ({"further": ["niqe"]}, ImageTooSmall, _NIQE),
    ],
)
def test_impossible_metrics(
    settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Labels.open(_config(**settings))


class _OfBlocks:
    """Wants a block of 24 pixels twice, whatever its smallest side; has no score for noise."""

    info = ScorerInfo("blocks", "1", True, True, False, 10)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is not None
        height, width = images.shape[-2:]
        if (height // 24) * (width // 24) < 2:
            raise ImageTooSmall(f"{height} x {width} pixels hold no two blocks")
        raise UndefinedScore("it is noise")


def test_crops_that_a_metric_would_refuse_are_known_before_the_work() -> None:
    labels = Labels.open(_config(crop=47), _OfBlocks())
    with pytest.raises(ImageTooSmall, match=r"crop: 47 .* for blocks: 47 x 47 .*; crop=48 would"):
        labels.check_crop(47)
    labels.check_crop(48)
    with pytest.raises(ImageTooSmall, match=r"11 x 11 pixels hold no two blocks$"):
        labels.check_crop(11)  # and 44 pixels do not help either
    beside = Labels(Labels.open(_config(label="order")).info, None, (_OfBlocks(),))
    with pytest.raises(ImageTooSmall, match="for blocks"):
        beside.check_crop(47)


def test_whole_images_are_as_large_as_they_are() -> None:
    assert Labels.open(_config(metric="niqe", crop="whole")).info.name == "niqe"


def test_scorer_where_nothing_is_scored() -> None:
    with pytest.raises(InvalidInput, match="label: order needs no scorer"):
        Labels.open(_config(label="order"), _Brightness())
