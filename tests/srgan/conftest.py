"""Small generators whose every weight matters, and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ranksrgan.contracts.assets import get_asset
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.generators.architectures import save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.training import encoders
from tests.srgan.pictures import write_waves

MakeGenerator = Callable[..., SRResNet]


@pytest.fixture
def lively() -> MakeGenerator:
    """Makes generators with random weights and biases of a size that keeps signals alive.

    A fresh SRResNet is nearly linear and forgets its far surroundings: it would forgive a halo that
    is too small, and zero padding where none belongs.
    """

    def make(features: int = 4, blocks: int = 1, scale: int = 4, seed: int = 0) -> SRResNet:
        network = SRResNet(features, blocks, scale)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                spread = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.2
                parameter.copy_(noise * spread)
            noise = torch.rand((1, 3, 24, 24), generator=generator)
            network.conv_last.weight.mul_(0.1 / network(noise).std())
            network.conv_last.bias.sub_(network(noise).mean((0, 2, 3)) - 0.5)
        return network.eval()  # most of its results lie in [0, 1]

    return make


@pytest.fixture
def weights_file(tmp_path: Path, lively: MakeGenerator) -> Path:
    """A small generator on disk, scale 4."""
    path = tmp_path / "weights" / "small.safetensors"
    path.parent.mkdir()
    save_generator(path, lively(), {})
    return path


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Makes PNG files of random pixels in a mode of Pillow's."""

    def make(width: int = 9, height: int = 7, mode: str = "RGB", seed: int = 0) -> bytes:
        channels = len(mode)
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels, mode=None).save(file, format="PNG")
        return file.getvalue()

    return make


@pytest.fixture
def hr_folder(tmp_path: Path) -> Path:
    """Four small pictures with structure: sums of waves, none of a size that 4 divides."""
    folder = tmp_path / "hr"
    write_waves(folder, 4)
    return folder


@pytest.fixture
def config(hr_folder: Path) -> Callable[..., TrainConfig]:
    """Makes configurations of a training that takes seconds; sections are given as dicts."""

    def make(**sections: dict[str, object] | None) -> TrainConfig:
        content: dict[str, object] = {
            "generator": {"features": 8, "blocks": 2},
            "data": {"hr": str(hr_folder), "crop": 64, "batch": 2},
            "run": {"steps": 4, "precision": "float32", "device": "cpu", "tensorboard": False},
        }
        for name, section in sections.items():
            before = content.get(name)
            joined = isinstance(before, dict) and section is not None
            content[name] = {**before, **section} if joined else section
        return TrainConfig.model_validate(content)

    return make


@pytest.fixture
def gan(config: Callable[..., TrainConfig]) -> Callable[..., TrainConfig]:
    """`config` with a small discriminator; ``losses`` are added to pixel and adversarial ones."""

    def make(**sections: dict[str, object]) -> TrainConfig:
        losses = {
            "pixel": {"weight": 0.1},
            "adversarial": {"weight": 0.01},
            **sections.pop("losses", {}),
        }
        return config(**{"discriminator": {"width": 4}, **sections}, losses=losses)

    return make


class ToyRanker(torch.nn.Module):
    """A frozen convolutional scorer with normalisation, as a `DifferentiableScorer`."""

    def __init__(self, seed: int = 0, higher_is_better: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3, stride=2),
                torch.nn.BatchNorm2d(4),
                torch.nn.LeakyReLU(0.2),
                torch.nn.AdaptiveAvgPool2d(1),
                torch.nn.Flatten(),
                torch.nn.Linear(4, 1),
            )
        self.eval().requires_grad_(False)
        self.info = ScorerInfo(f"toy{seed}", "1", higher_is_better, False, True, 8)
        self.seen: list[torch.Tensor] = []

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        if images.dtype == torch.uint8:
            images = images.float() / 255
        self.seen.append(images.detach().clone())
        scores: torch.Tensor = self.network(images)[:, 0].double()
        return scores

    def gradient(
        self, images: torch.Tensor, references: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = images.detach().requires_grad_()
        scores = self.score(leaf)
        return scores.detach(), torch.autograd.grad(scores.sum(), leaf)[0]


@pytest.fixture
def toy_ranker() -> type[ToyRanker]:
    return ToyRanker


@pytest.fixture
def encoder_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_weights: Path
) -> dict[str, Path]:
    """Weights with random numbers for each encoder of the perceptual loss, in its published form.

    VGG19 has a sixteenth of the channels, and its file the classifier; the distilled one's has a
    layer that nothing but the distillation needs.
    """
    blocks = tuple(tuple(width // 16 for width in widths) for widths in encoders.VGG19_BLOCKS)
    monkeypatch.setattr(encoders, "VGG19_BLOCKS", blocks)
    vgg19 = dict(encoders.Vgg19().state_dict())
    distilled = {"conv0.weight": torch.eye(3).view(3, 3, 1, 1), "conv0.bias": torch.zeros(3)}
    inputs = 3
    for block, widths in enumerate(encoders.DISTILLED_BLOCKS, 1):
        for number, outputs in enumerate(widths, 1):
            distilled[f"conv{block}{number}.weight"] = torch.zeros(outputs, inputs, 3, 3)
            distilled[f"conv{block}{number}.bias"] = torch.zeros(outputs)
            inputs = outputs
    for tensors in (vgg19, distilled):
        for key, value in tensors.items():
            if not key.startswith("conv0"):
                spread = (2 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.1
                value.copy_(torch.randn(value.shape) * spread)
    vgg19["classifier.0.weight"] = torch.zeros(2, 2)
    distilled["conv11_aux.weight"] = torch.zeros(64, 16, 1, 1)
    files = {
        "vgg19": tmp_path / get_asset("vgg19").file,
        "vgg19_distilled": tmp_path / get_asset("vgg19_distilled").file,
        "alexnet": random_weights / get_asset("alexnet").file,
    }
    torch.save(vgg19, files["vgg19"])
    torch.save({"model": distilled}, files["vgg19_distilled"])
    return files
