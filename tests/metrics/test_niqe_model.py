from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ranksrgan.metrics
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.niqe import niqe
from ranksrgan.metrics.niqe_model import NiqeModel


def test_the_published_model() -> None:
    model = NiqeModel.published()
    assert model is NiqeModel.published()
    assert float(model.mean[0]) == 2.6013136801541448
    assert torch.equal(model.covariance, model.covariance.T)
    assert float(torch.linalg.eigvalsh(model.covariance)[0]) == pytest.approx(7.07e-6, rel=1e-3)
    notice = Path(ranksrgan.metrics.__file__).parent / "params" / "NIQE_NOTICE.txt"
    assert "The University of Texas at Austin" in notice.read_text()


def test_saved_and_loaded_it_is_the_same_to_the_bit(tmp_path: Path) -> None:
    own = torch.randn(80, 36, dtype=torch.float64)
    model = NiqeModel(torch.randn(36, dtype=torch.float64), own.T @ own / 80)
    path = tmp_path / "new" / "model.json"
    model.save(path, source="80 rows of noise")
    loaded = NiqeModel.load(path)
    assert torch.equal(loaded.mean, model.mean)
    assert torch.equal(loaded.covariance, model.covariance)
    assert loaded.sha256 == model.sha256
    assert json.loads(path.read_text())["source"] == "80 rows of noise"
    image = torch.rand(1, 1, 96, 192)
    assert torch.equal(niqe(image, model=loaded), niqe(image, model=model))


def test_the_published_file_is_of_the_form_that_is_loaded(tmp_path: Path) -> None:
    published = Path(ranksrgan.metrics.__file__).parent / "params" / "niqe_pristine.json"
    assert NiqeModel.load(published).sha256 == NiqeModel.published().sha256
    NiqeModel.published().save(tmp_path / "again.json")
    again, before = (json.loads(p.read_text()) for p in (tmp_path / "again.json", published))
    assert {key: again[key] for key in ("block", "mu", "cov")} == {
        key: before[key] for key in ("block", "mu", "cov")
    }


def change(key: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | {key: value}


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {k: v for k, v in document.items() if k != key}


def with_entry(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(document: dict[str, Any]) -> dict[str, Any]:
        document["cov"][3][5] = value
        return document

    return changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("mu", [0.0] * 18), r"mean of 36 .* not \(18,\) and \(36, 36\)"),
        (change("cov", [[0.0] * 36] * 35), r"not \(36,\) and \(35, 36\)"),
        (change("cov", [[0.0] * 36] * 35 + [[0.0]]), "cov is no array of numbers"),
        (change("mu", ["one"] * 36), "mu is no array of numbers"),
        (change("mu", None), "mu is no array of numbers"),
        (change("mu", [float("nan")] * 36), "finite numbers only"),
        (with_entry(float("inf")), "finite numbers only"),
        (with_entry(0.5), "symmetric; this one differs from its transpose by 0.4"),
        (change("cov", [[1.0] * 36] * 36), "positive definite; the smallest eigenvalue"),
        (change("block", 192), "block is 192; the features are of blocks of 96"),
        (without("block"), "block is None"),
        (without("mu"), "there is no mu"),
        (without("cov"), "there is no cov"),
        (lambda document: [document], "no NIQE model: an object with mu and cov is"),
    ],
)
def test_what_is_no_model_is_refused(
    damage: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.json"
    NiqeModel.published().save(path)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(InvalidInput, match=message) as caught:
        NiqeModel.load(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.field == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"mu": [1', "is not JSON"),
        (b"\xff\xfe\x00", "not a text file"),
        (None, "No such file"),
    ],
)
def test_files_that_cannot_be_read(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        NiqeModel.load(path)
    assert caught.value.field == str(path)


def test_rounding_between_a_matrix_and_its_transpose_is_no_asymmetry() -> None:
    published = NiqeModel.published()
    almost = published.covariance.clone()
    almost[2, 1] *= 1 + 1e-12
    assert NiqeModel(published.mean, almost).sha256 != published.sha256


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(18), torch.eye(36), "36"),
        (torch.zeros(36), torch.eye(36), "float64, not torch.float32"),
    ],
)
def test_wrong_tensors(mean: Tensor, covariance: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        NiqeModel(mean, covariance)
