from __future__ import annotations

import pytest
import torch
from skimage.metrics import mean_squared_error

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import Rmse, rmse
from ranksrgan.metrics.luma import luma


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
