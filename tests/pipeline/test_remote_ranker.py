"""The rank-content loss over ScoreGradient: the same training as in process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import DifferentiableScorer, open_scorer
from ranksrgan.contracts.checkpoint import load_state, load_weights, save_weights
from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.rpc import start_server, wait_until_healthy
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.ranker import VGG12, RankerCatalog, load_ranker
from ranksrgan.srgan import load_recipe, train
from tests.pipeline.conftest import GAN, small_config


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "ranker.safetensors"
    network = VGG12(4, torch.Generator().manual_seed(1))
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 4},
        about={"higher_is_better": False},
    )
    return path


def settings(folder: Path, spec: str, steps: int) -> list[str]:
    config = small_config(folder)
    return [
        *GAN,
        f"data.hr={config.training}",
        f"losses.rank.rankers=[{{spec: '{spec}'}}]",
        "losses.rank.weight=1",
        "losses.rank.retry_for=1",
        f"run.steps={steps}",
    ]


def test_twenty_steps_are_the_same_in_process_and_by_service(weights: Path, tmp_path: Path) -> None:
    catalog = RankerCatalog({"ranker": load_ranker(weights)})
    server = start_server(f"unix:{tmp_path}/r.sock", [ScoringServicer(catalog)])
    curves: dict[str, list[Mapping[str, float]]] = {"local": [], "remote": []}
    specs = {"local": str(weights), "remote": f"unix://{tmp_path}/r.sock/ranker"}
    try:
        for name, spec in specs.items():
            train(
                load_recipe("ranksrgan", settings(tmp_path, spec, 20)),
                tmp_path / name,
                on_step=lambda _, values, seen=curves[name]: seen.append(dict(values)),
            )
    finally:
        server.stop()
    assert len(curves["remote"]) == 20
    for ours, theirs in zip(curves["remote"], curves["local"], strict=True):
        assert ours["rank"] == pytest.approx(theirs["rank"], rel=1e-5)
        assert ours["generator"] == pytest.approx(theirs["generator"], rel=1e-4)
    found, wanted = (
        load_weights(tmp_path / name / "generator.safetensors").tensors
        for name in ("remote", "local")
    )
    for key in wanted:
        assert torch.allclose(found[key], wanted[key], rtol=1e-3, atol=1e-5), key
    ranker = open_scorer(str(weights))
    assert isinstance(ranker, DifferentiableScorer)


def test_a_service_that_dies_in_mid_training(weights: Path, tmp_path: Path) -> None:
    """Retries, then a clear error with the last step saved; the same command goes on later."""
    address = f"unix:{tmp_path}/r.sock"
    command = [str(Path(sys.executable).with_name("ranksrgan-ranker")), "serve"]
    command += ["--listen", address, "--ranker", f"ranker={weights}"]

    def serve() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        assert wait_until_healthy(address)
        return process

    process = serve()
    config = load_recipe("ranksrgan", settings(tmp_path, f"unix://{tmp_path}/r.sock/ranker", 6))

    def kill(step: int, values: Mapping[str, float]) -> None:
        if step == 3:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    began = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="saved at step 3") as caught:
        train(config, tmp_path / "run", on_step=kill)
    assert time.monotonic() - began > 0.5  # it did try again
    assert "does not answer" in str(caught.value)
    assert load_state(tmp_path / "run" / "last.state.pt")["step"] == 3
    process = serve()
    try:
        assert train(config, tmp_path / "run").step == 6
    finally:
        process.terminate()
        process.wait()
