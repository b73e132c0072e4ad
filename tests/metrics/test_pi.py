from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import Scorer, assets
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput, MissingAsset, UndefinedScore
from ranksrgan.metrics import niqe
from ranksrgan.metrics.ma.model import MaModel
from ranksrgan.metrics.ma.scorer import ma
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.pi import Pi, pi

Load = Callable[[str], Tensor]


@pytest.fixture(scope="module")
def model(ma_mat: Path) -> MaModel:
    return MaModel.load(ma_mat)


def test_it_is_the_mean_of_both_with_ma_turned_round(model: MaModel, photograph: Load) -> None:
    images = photograph("coffee")[..., :104, :204]
    images = torch.cat([images, images.flip(3)])
    expected = [
        0.5 * ((10 - a) + n)
        for a, n in zip(
            ma(images, 4, "gray", model).tolist(), niqe(images, 4, "gray").tolist(), strict=True
        )
    ]
    scores = pi(images, 4, "gray", model)
    assert scores.tolist() == expected
    assert torch.equal(Pi(4, "gray", model).score(images), scores)
    assert torch.equal(torch.cat([pi(image[None], 4, "gray", model) for image in images]), scores)


def test_both_models_are_ones_own(model: MaModel, photograph: Load) -> None:
    image = photograph("coffee")[..., :104, :204]
    published = NiqeModel.published()
    own = NiqeModel(published.mean + 0.1, published.covariance)
    score = pi(image, 4, "y", model, own)
    assert torch.equal(score, ((10 - ma(image, 4, "y", model)) + niqe(image, 4, "y", own)) / 2)
    assert torch.equal(Pi(4, "y", model, own).score(image), score)
    assert float(score) != float(pi(image, 4, "y", model))
    hashes = {Pi(4, "y", model, of_niqe).info.parameters_hash for of_niqe in (None, own)}
    assert len(hashes) == 2


def test_errors_of_both(model: MaModel) -> None:
    with pytest.raises(ImageTooSmall, match="two or more"):
        pi(torch.rand(1, 3, 100, 100), model=model)
    with pytest.raises(UndefinedScore, match="flat"):
        pi(torch.full((1, 3, 192, 192), 0.5), model=model)
    with pytest.raises(InvalidInput, match="references"):
        Pi(model=model).score(torch.rand(1, 3, 96, 192), torch.rand(1, 3, 96, 192))
    with pytest.raises(InvalidInput):
        Pi(border=-1)
    with pytest.raises(InvalidInput):
        Pi(luma="Y")  # type: ignore[arg-type]


def test_the_authors_file(
    ma_mat: Path, model: MaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    image = torch.rand(1, 3, 96, 192)
    for score in (pi, Pi().score):
        with pytest.raises(MissingAsset, match=r"ma_model\.mat"):
            score(image)
    assert Pi().info.parameters_hash == ""
    shutil.copy(ma_mat, tmp_path / "ma_model.mat")
    assert torch.equal(pi(image), pi(image, model=model))
    assert len(Pi().info.parameters_hash) == 64
    assert Pi().info.parameters_hash == Pi(model=model).info.parameters_hash != model.sha256


def test_scorer(model: MaModel) -> None:
    scorer = Pi(border=4, model=model)
    assert isinstance(scorer, Scorer)
    info = scorer.info
    assert info.name == "pi?border=4"
    assert not info.higher_is_better
    assert not info.needs_reference
    assert info.min_side == 104
