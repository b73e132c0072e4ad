from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidConfig,
    InvalidDataset,
    NotSupported,
)
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.metrics.ma.fit import fit_features, fit_ma, robust_regression
from ranksrgan.metrics.ma.model import FEATURES, MaModel
from ranksrgan.metrics.ma.scorer import ma, ma_features


def some(images: int = 80) -> tuple[Tensor, Tensor]:
    """Features and scores that depend on one feature of each group."""
    features = torch.rand(images, FEATURES, dtype=torch.float64)
    scores = 4 * features[:, 3] + 3 * features[:, 40] + 2 * features[:, 100]
    return features, scores


def test_predictions_are_scikit_learns_and_survive_a_file(tmp_path: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    features, scores = some()
    model = fit_features(features, scores, trees=40, seed=3)
    assert model.about == {"images": 80, "trees": 40, "seed": 3}
    model.save(tmp_path / "ma.safetensors")
    again = MaModel.load(tmp_path / "ma.safetensors")
    assert again.sha256 == model.sha256

    new = torch.cat([features, torch.rand(30, FEATURES, dtype=torch.float64)])
    combined = np.full(len(new), float(model.linear[0]))
    out_of_bag = []
    for number, (first, last) in enumerate(((0, 18), (18, 63), (63, 138))):
        forest = ensemble.RandomForestRegressor(
            40,
            max_features=(last - first) // 3,
            min_samples_split=6,
            oob_score=True,
            random_state=3 + number,
        ).fit(features[:, first:last].numpy(), scores.numpy())
        combined = combined + float(model.linear[number + 1]) * forest.predict(
            new[:, first:last].numpy()
        )
        out_of_bag.append(forest.oob_prediction_)
    assert again.predict(new).tolist() == combined.tolist()
    np.testing.assert_allclose(
        model.linear.numpy(), robust_regression(np.stack(out_of_bag, axis=1), scores.numpy())
    )


def test_it_learns() -> None:
    pytest.importorskip("sklearn")
    features, scores = some(200)
    model = fit_features(features[:150], scores[:150], trees=60)
    predicted = model.predict(features[150:])
    assert float(torch.corrcoef(torch.stack([predicted, scores[150:]]))[0, 1]) > 0.7
    assert fit_features(features[:150], scores[:150], trees=60).sha256 == model.sha256
    assert fit_features(features[:150], scores[:150], trees=60, seed=1).sha256 != model.sha256


def write_data(folder: Path, images: int, side: int = 90) -> Path:
    random = np.random.default_rng(0)
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "judge", "score"])
        for index in range(images):
            noise = random.integers(0, 20 + 10 * index, (side, side, 1)).clip(0, 255)
            write_image(folder / f"{index}.png", Picture(noise.astype(np.uint8)))
            writer.writerow([f"{index}.png", "somebody", 10 - index / 3])
    return folder / "scores.csv"


def test_folder_and_table(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    scores = write_data(tmp_path, 20)
    model = fit_ma(tmp_path, scores, border=2, luma="gray", trees=32)
    assert model.about == {"images": 20, "trees": 32, "seed": 0, "border": 2, "luma": "gray"}
    images = torch.cat([to_tensor(read_image(tmp_path / f"{index}.png")) for index in range(20)])
    wanted = torch.tensor([10 - index / 3 for index in range(20)], dtype=torch.float64)
    direct = fit_features(ma_features(images, 2, "gray"), wanted, trees=32)
    assert direct.sha256 == model.sha256
    predicted = ma(images, 2, "gray", model)
    assert float(torch.corrcoef(torch.stack([predicted, wanted]))[0, 1]) > 0.9


def test_tables_that_are_wrong(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    table = tmp_path / "scores.csv"
    with pytest.raises(InvalidDataset, match=r"scores\.csv: No such file"):
        fit_ma(tmp_path, table)
    rest = "".join(f"{index}.png,{index}\n" for index in range(1, 20))
    for text, message in (
        ("", "holds no line of scores"),
        ("image,value\na.png,1\n", "there is no column 'score', only value"),
        ("image,score\na.png,1\nb.png,good\n", r":3: the score of b is 'good', not a finite"),
        ("image,score\na.png,nan\n", r":2: the score of a is 'nan'"),
        ("image,score\na.png\n", r":2: 1 cells where image,score are wanted"),
        ("image,score\n0.png,3,5\n", r":2: 3 cells where image,score are wanted"),
        ("image,score,score\n0.png,3,5\n", r":1: two columns of one name"),
        ("image,score\n0.png,1_0\n", r":2: the score of 0 is '1_0'"),
        ("image,score\n,1\n", r":2: the image has no name"),
        (f"image,score\n{rest}x/1.png,7\n", r":21: 1 is there already \(.*:2\)"),
    ):
        table.write_text(text)
        with pytest.raises(InvalidDataset, match=message):
            fit_ma(tmp_path, table)
    write_data(tmp_path, 20, side=8)
    table.write_text(f"image,score\n../missing.png,1\n{rest}")
    with pytest.raises(InvalidDataset, match=r"scores missing; .* there is none of that name"):
        fit_ma(tmp_path, table)
    (tmp_path / "0.bmp").write_bytes((tmp_path / "0.png").read_bytes())
    table.write_text(f"image,score\n0.png,1\n{rest}")
    with pytest.raises(InvalidDataset, match=r"scores 0; .* there is 0\.bmp, 0\.png"):
        fit_ma(tmp_path, table)
    (tmp_path / "0.bmp").unlink()
    table.write_text("image,score\n" + "".join(f"{index}.png,5\n" for index in range(20)))
    with pytest.raises(InvalidDataset, match="all 20 scores are 5: there is nothing to learn"):
        fit_ma(tmp_path, table)
    with pytest.raises(InvalidDataset, match="3 images are too few: 20 or more"):
        fit_ma(tmp_path, write_data(tmp_path, 3))
    with pytest.raises(ImageTooSmall, match=r"0\.png: 40 x 40"):
        fit_ma(tmp_path, write_data(tmp_path, 20, side=40))


def test_numbers_that_are_wrong() -> None:
    pytest.importorskip("sklearn")
    features, scores = some()
    with pytest.raises(InvalidDataset, match=r"\(80, 137\) and \(80,\)"):
        fit_features(features[:, 1:], scores)
    with pytest.raises(InvalidDataset, match=r"\(80, 138\) and \(79,\)"):
        fit_features(features, scores[1:])
    with pytest.raises(InvalidDataset, match="not a finite number"):
        fit_features(features, scores * torch.inf)
    with pytest.raises(InvalidDataset, match="all 80 scores are 3"):
        fit_features(features, torch.full_like(scores, 3))
    with pytest.raises(InvalidConfig, match="31 trees are too few: 32 or more"):
        fit_features(features, scores, trees=31)
    with pytest.raises(InvalidConfig, match="the seed 4294967294 is not from 0 to 4294967293"):
        fit_features(features, scores, seed=2**32 - 2)
    assert fit_features(features, scores, trees=32, seed=2**32 - 3).about["seed"] == 2**32 - 3


@pytest.mark.parametrize("settings", [{"seed": -1}, {"seed": 2**32 - 2}, {"trees": 31}])
def test_settings_are_checked_before_any_image_is_read(
    tmp_path: Path, settings: dict[str, int]
) -> None:
    with pytest.raises(InvalidConfig) as told:
        fit_ma(tmp_path, tmp_path / "none.csv", **settings)  # type: ignore[arg-type]
    assert told.value.field == next(iter(settings))


def test_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    # The module: the package may hold the function of the same name.
    monkeypatch.setattr(sys.modules[fit_ma.__module__], "import_module", absent)
    with pytest.raises(NotSupported, match=r"pip install 'packages/metrics\[fit\]'"):
        fit_ma(tmp_path, tmp_path / "scores.csv")


def test_robust_regression_is_least_squares_without_noise() -> None:
    predictors = np.random.default_rng(0).random((40, 3))
    responses = 1 + predictors @ [2.0, -3.0, 4.0]
    np.testing.assert_allclose(robust_regression(predictors, responses), [1, 2, -3, 4], rtol=1e-10)


def test_robust_regression_ignores_outliers() -> None:
    random = np.random.default_rng(0)
    predictors = random.random((200, 3))
    clean = 1 + predictors @ [2.0, -3.0, 4.0] + random.normal(0, 0.05, 200)
    spoilt = clean.copy()
    spoilt[:40] += 30
    fitted = robust_regression(predictors, spoilt)
    assert np.abs(fitted - robust_regression(predictors[40:], clean[40:])).max() < 0.02
    # Where it ends, the weighted residuals are orthogonal to the predictors.
    design = np.column_stack([np.ones(200), predictors])
    leverage = np.diag(design @ np.linalg.inv(design.T @ design) @ design.T)
    adjusted = np.sqrt(1 - leverage)
    residuals = (spoilt - design @ fitted) / adjusted
    scale = float(np.median(np.sort(np.abs(residuals))[3:]) / 0.6745)
    weights = np.maximum(0, 1 - (residuals / (4.685 * scale)) ** 2) ** 2
    normal = design.T @ (weights * (spoilt - design @ fitted))
    assert np.abs(normal).max() < 1e-5
