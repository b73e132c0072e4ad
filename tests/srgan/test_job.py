"""The work of a job that trains, in this process; see test_training_server.py for real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.operations.job_process import JobContext
from ranksrgan.contracts.operations.jobs import JobFolder, JobRequest
from ranksrgan.srgan.generators.architectures import save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.job import work
from tests.srgan.pictures import write_waves

CONFIG: dict[str, Any] = {
    "generator": {"features": 4, "blocks": 1, "weights": "models/start"},
    "data": {"hr": "images/waves", "crop": 32, "batch": 2, "workers": 1},
    "losses": {"pixel": {"weight": 1}},
    "run": {"steps": 2, "device": "cpu", "precision": "float32", "tensorboard": False},
}


def job(root: Path, config: dict[str, Any], target: str = "generators/g") -> JobContext:
    folder = JobFolder(root / "operations" / "srgan-000001-00000000")
    folder.path.mkdir(parents=True, exist_ok=True)
    request = {"config": config, "rankers": {}}
    folder.write_request(
        JobRequest(
            kind="TrainGenerator",
            target=target,
            request=request,
            request_id="",
            created=0.0,
        )
    )
    return JobContext(folder, DataRoot(root))


def write_start(root: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_generator(root / "models" / "start.safetensors", SRResNet(4, 1), {})


def test_what_differs_goes_on_as_its_message_says_to_a_client(tmp_path: Path) -> None:
    """Whose names are of folders; no file in one can be named, and nothing be restarted."""
    write_waves(tmp_path / "images" / "waves", 2)
    write_start(tmp_path, 0)
    work(job(tmp_path, CONFIG))
    other = {**CONFIG, "optimiser": {"generator_lr": 1e-5}}
    message = r"another folder \(at a service another name\), .*\(there its name\) as generator\.w"
    with pytest.raises(InvalidConfig, match=message):
        work(job(tmp_path, other))
    weights = {**CONFIG["generator"], "weights": "generators/g"}
    assert work(job(tmp_path, {**other, "generator": weights}, "generators/next"))["step"] == 2


def test_a_training_goes_on_only_from_the_weights_that_it_started_from(tmp_path: Path) -> None:
    write_waves(tmp_path / "images" / "waves", 2)
    write_start(tmp_path, 0)
    first = work(job(tmp_path, CONFIG))
    more = {**CONFIG, "run": {**CONFIG["run"], "steps": 3}}
    assert work(job(tmp_path, more))["step"] == 3
    write_start(tmp_path, 1)
    message = "generators/g is there and cannot be continued: .* generator.weights"
    with pytest.raises(InvalidConfig, match=message) as caught:
        work(job(tmp_path, more))
    assert caught.value.field == "generator_id"
    kept = load_weights(tmp_path / "generators" / "g" / "generator.safetensors")
    assert kept.sha256 != first["parameters_hash"]  # that of step 3 is still there
