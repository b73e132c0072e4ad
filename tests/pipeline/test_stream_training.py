"""A Ranker learns the same from a dataset's folder and from a service over it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
import torch

from ranksrgan.contracts import PairSource, open_pair_source
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.ranker import TrainConfig, train
from tests.rankdata.served import PATIENCE, ServerProcess

pytestmark = pytest.mark.timeout(3 * PATIENCE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with one dataset, ``ranked``."""
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        pixels = getattr(skimage.data, name)()[100:180, 120:216]
        write_image(tmp_path / "images" / "photographs" / f"{name}.png", Picture(pixels))
    config = {
        "hr": tmp_path / "images" / "photographs",
        "output": tmp_path / "datasets" / "ranked",
        "levels": {"blurred": "blur:1.5", "noisy": "noise:8", "hr": "hr"},
        "metric": "rmse",
        "crop": 48,
        "stride": 16,
        "val": 0.25,
    }
    build(BuildConfig.model_validate(config))
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(root)
    process.start()
    yield process
    process.end(signal.SIGTERM)


def test_twenty_steps_give_the_same_weights(
    root: Path, server: ServerProcess, tmp_path: Path
) -> None:
    """Even though the server is killed in the middle of them, and started again."""
    config = TrainConfig(
        width=4,
        batch=4,
        steps=20,
        lr=2e-3,
        validate_every=10,
        save_every=10,
        log_every=5,
        precision="float32",
        device="cpu",
    )

    def learn(train_source: PairSource, val_source: PairSource, name: str) -> Path:
        def on_step(step: int, loss: float) -> None:
            if name == "stream" and step == 8:
                server.end(signal.SIGKILL)
                server.start()

        return train(config, train_source, val_source, tmp_path / name, on_step=on_step).weights

    folder = str(root / "datasets" / "ranked")
    address = f"unix://{root}/rankdata.sock/ranked"
    weights = {
        "folder": learn(
            open_pair_source(folder, split="train"), open_pair_source(folder, split="val"), "folder"
        ),
        "stream": learn(
            open_pair_source(f"{address}?split=train", timeout=PATIENCE, retry_for=PATIENCE),
            open_pair_source(f"{address}?split=val", timeout=PATIENCE, retry_for=PATIENCE),
            "stream",
        ),
    }
    ours, theirs = (load_weights(weights[name]) for name in ("stream", "folder"))
    assert ours.tensors.keys() == theirs.tensors.keys()
    for key, tensor in ours.tensors.items():
        assert torch.equal(tensor, theirs.tensors[key]), key
    for table in ("curves.csv", "validation.csv"):
        streamed, read = (tmp_path / name / table for name in ("stream", "folder"))
        assert streamed.read_text() == read.read_text()
