"""A run of the whole pipeline, as small as it can be, shared by the tests of this package."""

from __future__ import annotations

from pathlib import Path

import pytest
from skimage import data

from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.pipeline.stages import Outcome, run

SMALL = [
    "generator.features=4",
    "generator.blocks=1",
    "data.crop=32",
    "data.batch=2",
    "run.steps=2",
    "run.tensorboard=false",
    "run.precision=float32",
    "run.device=cpu",
]
GAN = [
    *SMALL,
    "discriminator.width=2",
    "losses.pixel.weight=1",
    "losses.perceptual={weight: 0, network: null}",
]


def small_config(folder: Path) -> PipelineConfig:
    """Every stage with two steps, on two photographs to learn from and one to judge by."""
    photographs = {"astronaut": data.astronaut(), "coffee": data.coffee(), "cat": data.chelsea()}
    for name, pixels in photographs.items():
        place = "held-out" if name == "cat" else "training"
        write_image(folder / place / f"{name}.png", Picture(pixels[60:260, 60:260]))
    settings: dict[str, list[str]] = {"srresnet": SMALL, "srgan": GAN, "ranksrgan": GAN}
    settings["control"] = GAN
    recipes = {"control": "srgan"}
    overrides = [
        f"{stage}={{recipe: {recipes.get(stage, stage)}, settings: {list(lines)}}}"
        for stage, lines in settings.items()
    ]
    return load_config(
        PipelineConfig,
        None,
        [
            f"training={folder / 'training'}",
            f"held_out={folder / 'held-out'}",
            f"output={folder / 'run'}",
            "rankdata={metric: niqe, crop: 192, stride: 8, interpolations: [0.5], val: 0.5}",
            "ranker.settings=[width=2, batch=1, steps=2, device=cpu, precision=float32]",
            *overrides,
        ],
    )


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[PipelineConfig, Outcome]:
    config = small_config(tmp_path_factory.mktemp("pipeline"))
    return config, run(config)
