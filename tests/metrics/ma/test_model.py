from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from ranksrgan.contracts import assets
from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, MissingAsset
from ranksrgan.metrics.ma.model import FEATURES, MaModel


@pytest.fixture(scope="module")
def model(ma_mat: Path) -> MaModel:
    return MaModel.load(ma_mat)


def test_the_score_is_the_linear_combination(model: MaModel) -> None:
    features = torch.rand(5, FEATURES, dtype=torch.float64) * 4
    assert model.linear.tolist() == [0.5, 0.2, 0.3, 0.4]
    first, second, third = model.forests
    expected = (
        0.5
        + 0.2 * first.predict(features[:, :18])
        + 0.3 * second.predict(features[:, 18:63])
        + 0.4 * third.predict(features[:, 63:])
    )
    assert torch.equal(model.predict(features), expected)


def test_our_own_format(model: MaModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    own = MaModel(model.forests, model.linear, {"images": 7})
    own.save(path)
    again = MaModel.load(path)
    features = torch.rand(5, FEATURES, dtype=torch.float64) * 4
    assert torch.equal(again.predict(features), model.predict(features))
    assert again.about == {"images": 7}
    assert again.sha256 == own.sha256 == load_weights(path).sha256


def test_the_hash_is_that_of_the_authors_file_or_of_the_arrays(
    model: MaModel, ma_mat: Path
) -> None:
    assert model.sha256 == hashlib.sha256(ma_mat.read_bytes()).hexdigest()
    own = MaModel(model.forests, model.linear)
    other = MaModel(model.forests, model.linear * 2)
    assert len({model.sha256, own.sha256, other.sha256}) == 3


def test_models_that_are_none(model: MaModel) -> None:
    with pytest.raises(InvalidInput, match=r"forests of \(18, 45, 75\) inputs, not \(45, 18\)"):
        replace(model, forests=(model.forests[1], model.forests[0]))
    with pytest.raises(InvalidInput, match="4 linear weights"):
        replace(model, linear=model.linear[:3])


def test_files_that_are_none(model: MaModel, ma_mat: Path, tmp_path: Path) -> None:
    for name in ("missing.mat", "missing.safetensors"):
        with pytest.raises(InvalidCheckpoint, match="no such file"):
            MaModel.load(tmp_path / name)

    damaged = tmp_path / "damaged.mat"
    content = ma_mat.read_bytes()
    for data in (b"", b"nothing of the kind" * 20, content[:200], content[: len(content) // 2]):
        damaged.write_bytes(data)
        with pytest.raises(InvalidCheckpoint, match=r"damaged\.mat"):
            MaModel.load(damaged)

    for place in range(200, len(content), len(content) // 40):  # past the header's free text
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(InvalidCheckpoint, match=r"damaged\.mat"):
            MaModel.load(damaged)

    hdf5 = tmp_path / "hdf5.mat"
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124, b" ") + b"\x00\x02IM"
    hdf5.write_bytes(header + b"\0" * 384 + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InvalidCheckpoint, match=r"7\.3: save it again with '-v7'"):
        MaModel.load(hdf5)

    other = tmp_path / "other.mat"
    scipy.io.savemat(other, {"weights": np.zeros(3)})
    with pytest.raises(InvalidCheckpoint, match="is no Ma model"):
        MaModel.load(other)
    cells = np.empty((1, 2), dtype=object)
    cells[:] = {"lDau": np.zeros((1, 1))}
    scipy.io.savemat(other, {"model": {"rf": cells, "linear": np.zeros(4)}})
    with pytest.raises(InvalidCheckpoint, match="3 forests wanted, got 2"):
        MaModel.load(other)

    weights = tmp_path / "ranker.safetensors"
    save_weights(weights, {"x": torch.zeros(1)}, kind="ranker", architecture="vgg12", options={})
    with pytest.raises(InvalidCheckpoint, match="holds a ranker of the architecture vgg12"):
        MaModel.load(weights)
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(
        InvalidCheckpoint, match=r"other\.pth holds weights that do not say of what"
    ):
        MaModel.load(tmp_path / "other.pth")
    arrays = {"linear": model.linear}
    save_weights(weights, arrays, kind="ma", architecture="three-forests", options={})
    with pytest.raises(InvalidCheckpoint, match=r"misses 'forest1\.roots'"):
        MaModel.load(weights)


def test_the_authors_model_is_an_asset_and_read_once(
    ma_mat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    with pytest.raises(MissingAsset, match=r"ma_model\.mat is needed for Ma.*assets pull ma"):
        MaModel.published()
    shutil.copy(ma_mat, tmp_path / "ma_model.mat")
    with caplog.at_level(logging.WARNING):
        found = MaModel.published()
    assert "is not the published ma_model.mat" in caplog.text
    assert "not comparable" in caplog.text
    assert found.sha256 == MaModel.load(ma_mat).sha256
    assert MaModel.published() is found
    assert len(caplog.records) == 1


def test_no_warning_for_the_right_file(
    ma_mat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content = ma_mat.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    asset = replace(assets.ASSETS["ma"], git_blob=blob)
    monkeypatch.setitem(assets.ASSETS, "ma", asset)
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    shutil.copy(ma_mat, tmp_path / "ma_model.mat")
    MaModel.published()
    assert not caplog.records
