from __future__ import annotations

import pytest
import torch
from skimage.metrics import mean_squared_error

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import Rmse, rmse
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.rmse import dataset_rmse, pirm_region


def test_against_scikit_image() -> None:
    a, b = torch.randint(0, 256, (2, 1, 3, 20, 30), dtype=torch.uint8)
    x, y = (luma(image)[0, 4:-4, 4:-4].numpy() for image in (a, b))
    assert float(rmse(a, b, border=4)) == pytest.approx(mean_squared_error(x, y) ** 0.5, rel=1e-12)


def test_by_hand() -> None:
    a = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    b = a.clone()
    b[0] += 7
    b[1, 0, 0, 0] = 4
    assert rmse(a, b).tolist() == [7, 1]
    assert rmse(a, a).tolist() == [0, 0]


def test_luma_is_rounded_as_in_pirm() -> None:
    a = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    b = a.clone()
    b[:, 2] += 4  # 0.39 grey levels: none after rounding
    assert float(rmse(a, b)) == 0


def test_of_all_channels_against_scikit_image() -> None:
    a, b = torch.randint(0, 256, (2, 1, 3, 20, 30), dtype=torch.uint8)
    expected = mean_squared_error(a[0, :, 4:-4, 4:-4].numpy(), b[0, :, 4:-4, 4:-4].numpy()) ** 0.5
    assert float(rmse(a, b, border=4, luma="rgb")) == pytest.approx(expected, rel=1e-12)


def test_a_data_set_is_judged_by_its_mean_square() -> None:
    assert dataset_rmse(torch.tensor([3.0, 4.0])) == pytest.approx(12.5**0.5)
    assert dataset_rmse(torch.tensor([5.0], dtype=torch.float64)) == 5
    for scores in (torch.empty(0), torch.ones(2, 2)):
        with pytest.raises(InvalidInput, match="at least 1"):
            dataset_rmse(scores)
    for wrong in (-1.0, torch.nan, torch.inf):
        with pytest.raises(InvalidInput, match="no RMSE"):
            dataset_rmse(torch.tensor([1.0, wrong]))


@pytest.mark.parametrize(
    ("score", "region"),
    [
        (0, 1),
        (11.5, 1),
        (11.500001, 2),
        (12.5, 2),
        (12.500001, 3),
        (15.3, 3),  # ESRGAN's entry
        (16, 3),
        (16.000001, None),
        (float("inf"), None),
    ],
)
def test_regions_of_pirm(score: float, region: int | None) -> None:
    assert pirm_region(score) == region


@pytest.mark.parametrize("score", [-0.1, float("nan")])
def test_what_is_no_rmse_has_no_region(score: float) -> None:
    with pytest.raises(InvalidInput, match="0 or more"):
        pirm_region(score)


def test_scorer() -> None:
    scorer = Rmse(border=4)
    assert isinstance(scorer, Scorer)
    assert scorer.info.name == "rmse?border=4"
    assert not scorer.info.higher_is_better
    assert scorer.info.needs_reference
    a, b = torch.rand(2, 1, 3, 12, 12)
    assert torch.equal(scorer.score(a, b), rmse(a, b, 4))
    with pytest.raises(InvalidInput, match="needs references"):
        scorer.score(a)
