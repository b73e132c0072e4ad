"""The smallest scale at which an experiment means nothing and runs through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from skimage import data

from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.pipeline.reproduction.schedule import Outcome
from ranksrgan.pipeline.reproduction.units import Unit
from ranksrgan.pipeline.reproduction.work import do_unit
from ranksrgan.srgan import SRResNet, save_generator

SIZES = [
    "generator.features=8",
    "generator.blocks=2",
    "data.crop=32",
    "data.batch=2",
    "run.device=cpu",
    "run.precision=float32",
]
MODELS = ("fast_srgan", "srgan", "imdn")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs to learn from, one for each test set, and three generators."""
    folder = tmp_path_factory.mktemp("data")
    photographs = {
        "train/a": data.astronaut(),
        "train/b": data.coffee(),
        "set14/a": data.chelsea(),
        "bsd100/b": data.chelsea()[:, 200:],
    }
    for name, pixels in photographs.items():
        write_image(folder / "images" / f"{name}.png", Picture(pixels[60:260, :204]))
    for seed, name in enumerate(MODELS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = SRResNet(features=8, blocks=2, scale=4)
        save_generator(folder / "weights" / f"{name}.safetensors", network, {})
    return folder


@pytest.fixture(scope="session")
def tiny_scale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scale's file."""
    content = {
        "about": "Scale tiny: for tests.",
        "content": None,
        "steps": {"initial": 3, "pretrained": 3, "generator": 3},
        "validations": 1,
        "training": ["@data/images/train"],
        "test_sets": {"Set14": "@data/images/set14", "BSD100": "@data/images/bsd100"},
        "held_out": "BSD100",
        "validation": "Set14",
        "models": {name: f"@data/weights/{name}.safetensors" for name in MODELS},
        "teachers": ["srgan", "fast_srgan"],
        "pictures": {"Set14": ["a"]},
        "initial": SIZES,
        "gan": [*SIZES, "discriminator.width=2", "losses.pixel.weight=1"],
        "rank_data": {"crop": 200, "stride": 64, "held_out_stride": 64, "val": 0.5},
        "ranker": {
            "steps": 3,
            "settings": ["width=2", "batch=1", "device=cpu", "precision=float32"],
        },
        "step_timing": {"rounds": 2, "steps": 4},
    }
    path = tmp_path_factory.mktemp("scale") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


Ran = list[str]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Units are done one after the other without processes; the labels of those that were."""
    ran: Ran = []

    def run_units(
        units: Sequence[Unit],
        runs: Path,
        data: Path,
        *,
        jobs: int,
        environment: Mapping[str, str],
        seconds: float | None,
        say: Callable[[str], None],
    ) -> Outcome:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for unit in units:
            if not unit.is_finished(runs):
                do_unit(unit.prepare(runs), data)
                ran.append(unit.label)
        return Outcome({unit.name for unit in units})

    monkeypatch.setattr("ranksrgan.pipeline.reproduction.reproduce.run_units", run_units)
    return ran
