from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import Scorer, assets, cancellation
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    MissingAsset,
    RequestCancelled,
)
from ranksrgan.metrics.ma.model import FEATURES, MaModel
from ranksrgan.metrics.ma.scorer import MIN_SIDE, Ma, ma, ma_features

Load = Callable[[str], Tensor]

PHOTOGRAPHS = ["camera", "astronaut", "coffee", "chelsea", "rocket"]


@pytest.fixture(scope="module")
def official(shared_data: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((shared_data / "testvec/ma_features.json").read_text())
    return document


@pytest.fixture(scope="module")
def model(ma_mat: Path) -> MaModel:
    return MaModel.load(ma_mat)


@pytest.fixture
def no_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "I03", "I04", "I06"])
def test_official_features(
    name: str,
    official: dict[str, Any],
    shared_data: Path,
    photograph: Load,
    image_file: Callable[[Path], Tensor],
) -> None:
    if name in PHOTOGRAPHS:
        image = photograph(name)
        pixels = image[0].permute(1, 2, 0).contiguous().numpy().tobytes()
        expected_hash = official["images"][name]["sha256_of_uint8_array_bytes"]
        if hashlib.sha256(pixels).hexdigest() != expected_hash:
            pytest.skip("this scikit-image or JPEG decoder gives other pixels")
    else:
        image = image_file(shared_data / "testvec" / official["images"][name]["source"])
    row = official["features"][name]
    assert row["crop"] == 4
    features = ma_features(image, border=4)
    assert features.shape == (1, FEATURES)
    assert features.dtype == torch.float64
    # Of the first group, noise of the official transform in flat windows makes 1e-9.
    for first, last, tolerance in ((0, 18, 3e-9), (18, 63, 1e-11), (63, 138, 1e-11)):
        expected = (row["f1"] + row["f2"] + row["f3"])[first:last]
        np.testing.assert_allclose(features[0, first:last].numpy(), expected, rtol=tolerance)


def test_the_score_is_the_models(model: MaModel, photograph: Load) -> None:
    images = photograph("chelsea")[..., :120, :140]
    scores = ma(images, 4, "gray", model)
    assert scores.shape == (1,)
    assert torch.equal(scores, model.predict(ma_features(images, 4, "gray")))
    assert not torch.equal(ma_features(images, 4, "gray"), ma_features(images, 4))


def test_uint8_and_float_of_the_same_pixels_agree(photograph: Load) -> None:
    image = photograph("chelsea")[..., :100, :110]
    features = ma_features(image)
    assert torch.equal(ma_features(image.float() / 255), features)
    assert torch.equal(ma_features(image.double() / 255), features)


def test_border_is_a_crop_after_the_luma(photograph: Load) -> None:
    image = photograph("coffee")[..., :112, :121]
    assert torch.equal(ma_features(image, border=4), ma_features(image[..., 4:-4, 4:-4]))


def test_batch_shuffled_batch_and_single_calls_agree_to_the_bit(
    model: MaModel, photograph: Load
) -> None:
    image = photograph("astronaut")
    crops = torch.cat([image[..., y : y + 101, x : x + 130] for y in (0, 90) for x in (0, 151)])
    together, scores = ma_features(crops), ma(crops, model=model)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(ma_features(crops[order]), together[order])
    for crop, features, score in zip(crops, together, scores, strict=True):
        assert torch.equal(ma_features(crop[None])[0], features)
        assert torch.equal(ma(crop[None], model=model)[0], score)


def test_the_number_of_threads_does_not_matter(photograph: Load) -> None:
    image = photograph("coffee")[..., :250, :300]
    threads = torch.get_num_threads()
    try:
        features = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            features.append(ma_features(image))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[0], features[2])


@pytest.mark.parametrize(
    ("height", "width", "enough"),
    [
        (84, 84, True),
        (83, 84, False),  # 5 x 4 blocks at a quarter of the size
        (45, 164, True),
        (45, 163, False),
        (44, 400, False),
        (400, 44, False),
        (1, 1, False),
    ],
)
def test_the_smallest_images(height: int, width: int, enough: bool) -> None:
    image = torch.rand(1, 3, height, width)
    if enough:
        assert bool(ma_features(image).isfinite().all())
        with pytest.raises(ImageTooSmall):
            ma_features(image, border=1)
    else:
        with pytest.raises(ImageTooSmall, match=f"{height} x {width} pixels are too few for Ma"):
            ma_features(image)


def test_flat_images_have_the_features_of_the_definition() -> None:
    features = ma_features(torch.full((1, 1, 100, 120), 0.6, dtype=torch.float64))[0]
    assert bool(features.isfinite().all())
    assert features[18:36].tolist() == [10.0] * 18  # shapes of a constant
    assert features[36:63].tolist() == [1.0] * 27  # correlations of nothing with nothing
    singular = features[63:].reshape(3, 25)
    assert float(singular[0, 0]) == pytest.approx(0.6 * math.sqrt(100 * 120), rel=1e-12)
    assert float(singular[0, 1]) < 1e-12


def test_stripes_have_features() -> None:
    stripes = (torch.arange(120) % 7).double().div(7).expand(1, 1, 100, 120)
    assert bool(ma_features(stripes).isfinite().all())


def test_without_the_authors_file(no_assets: Path) -> None:
    image = torch.rand(1, 3, 100, 100)
    for score in (ma, Ma().score):
        with pytest.raises(MissingAsset, match=r"ma_model\.mat is needed for Ma and PI"):
            score(image)
    assert Ma().info.parameters_hash == ""
    assert ma_features(image).shape == (1, FEATURES)


def test_with_the_authors_file(no_assets: Path, ma_mat: Path, model: MaModel) -> None:
    shutil.copy(ma_mat, no_assets / "ma_model.mat")
    image = torch.rand(1, 3, 100, 100)
    assert torch.equal(ma(image), ma(image, model=model))
    assert torch.equal(Ma().score(image), ma(image, model=model))
    assert Ma().info.parameters_hash == Ma(model=model).info.parameters_hash == model.sha256


def test_scorer(model: MaModel) -> None:
    scorer = Ma(border=4, luma="gray", model=model)
    assert isinstance(scorer, Scorer)
    info = scorer.info
    assert info.name == "ma?border=4&luma=gray"
    assert info.higher_is_better
    assert not info.needs_reference
    assert not info.differentiable
    assert info.min_side == MIN_SIDE + 8
    assert (info.lowest, info.highest) == (-math.inf, math.inf)
    image = torch.rand(1, 3, 100, 100)
    assert torch.equal(scorer.score(image), ma(image, 4, "gray", model))
    with pytest.raises(InvalidInput, match="references"):
        scorer.score(image, image)
    with pytest.raises(InvalidInput):
        Ma(border=-1)
    with pytest.raises(InvalidInput):
        Ma(luma="Y")  # type: ignore[arg-type]


def test_it_stops_between_images_when_nobody_waits() -> None:
    answers = iter([True, False])
    with cancellation.scope(lambda: next(answers)), pytest.raises(RequestCancelled):
        ma_features(torch.rand(3, 1, 90, 90))
    assert next(answers, None) is None


def test_images_that_want_gradients_are_scored_without(model: MaModel) -> None:
    image = torch.rand(1, 3, 90, 90, requires_grad=True)
    assert not ma(image, model=model).requires_grad


@pytest.mark.cuda
def test_cuda_agrees(photograph: Load) -> None:
    image = photograph("astronaut")
    features = ma_features(image.cuda())
    assert features.is_cuda
    np.testing.assert_allclose(features.cpu().numpy(), ma_features(image).numpy(), rtol=1e-8)
