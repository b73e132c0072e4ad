"""Model repositories of small random networks."""

from __future__ import annotations

from pathlib import Path

import torch

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.ranker import VGG12
from ranksrgan.srgan import SRResNet, save_generator


def put_generator(root: Path, name: str, version: int, *, seed: int, scale: int = 4) -> Path:
    """Write a generator into a repository, in place of what is there; returns the file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SRResNet(4, 1, scale)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(0, 0.1)
    path = root / name / str(version) / "model.safetensors"
    save_generator(path, network, {})
    return path


def put_ranker(
    root: Path, name: str, version: int, *, seed: int, higher_is_better: bool = False
) -> Path:
    """Likewise, a Ranker."""
    network = VGG12(4, torch.Generator().manual_seed(seed))
    path = root / name / str(version) / "model.safetensors"
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture=network.architecture,
        options=network.options,
        about={"metric": "niqe", "higher_is_better": higher_is_better},
    )
    return path
