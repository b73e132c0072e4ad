"""What the training of a generator starts from."""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts.starts import check_starts
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.training.state import STATE_FILE


def check_generator_starts(config: TrainConfig, folder: Path) -> None:
    """Refuse to go on in ``folder`` if the weights that its training started from were replaced.

    Raises:
        InvalidConfig, InvalidCheckpoint: see `check_starts`.
        MissingAsset: see `ShippedWeights.path`.
    """
    generator, discriminator = config.generator, config.discriminator
    named = {
        "generator.weights": generator.weights,
        "generator.trunk_weights": generator.trunk_weights,
        "discriminator.weights": discriminator.weights if discriminator else None,
    }
    starts = {key: SHIPPED.resolve(path) for key, path in named.items() if path is not None}
    check_starts(folder / STATE_FILE, starts)
