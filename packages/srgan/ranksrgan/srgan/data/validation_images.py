"""The images that a training validates on: their LR by bicubic, given, or made as the training's.

What is made by chance is decided by an image's place among the sorted names alone, so that every
validation, and every training whatever its seed, is asked for the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import list_images
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import Photograph, read_photograph
from ranksrgan.srgan.data.degradation import RealScene, SecondOrder, degrade, draw
from ranksrgan.srgan.data.image_store import FolderImages, ImageStore
from ranksrgan.srgan.data.paired_images import divided, match_pairs
from ranksrgan.srgan.data.real_scene import Scene

# Before an image's number, apart from what a training's crops are drawn from.
_STREAM = (0, 4)


def validation_photographs(config: TrainConfig) -> list[Photograph]:
    """The HR images of ``validation.hr`` with the LR images that the validation enlarges.

    Raises:
        InvalidConfig: ``validation.hr`` is not given.
        InvalidInput: no such folder, or no image in it.
        InvalidImage: an image that cannot be read.
        InvalidDataset: an image smaller than one LR pixel, LR and HR images that do not match, or
            noise or kernels that cannot be used.
    """
    hr, lr, scale = config.validation.hr, config.validation.lr, config.generator.scale
    if hr is None:
        raise InvalidConfig("validation.hr names no folder", field="validation.hr")
    photographs: Iterator[Photograph]
    if lr is None:
        photographs = (read_photograph(path, scale) for path in list_images(hr))
    else:
        photographs = _pairs(hr, lr, scale, config.data.workers)
    if config.validation.degradation == "bicubic":
        return list(photographs)
    degraded = _as_training(config)
    return [
        photograph._replace(lr=degraded(photograph, np.random.default_rng([*_STREAM, number])))
        for number, photograph in enumerate(photographs)
    ]


def _pairs(hr_folder: Path, lr_folder: Path, scale: int, workers: int) -> Iterator[Photograph]:
    hr: ImageStore = FolderImages(hr_folder, 0, workers)
    lr: ImageStore
    if lr_folder == hr_folder:
        hr, lr = divided(hr, scale)
    else:
        lr = FolderImages(lr_folder, 0, workers)
    for number, (entry, partner) in enumerate(
        zip(hr.entries, match_pairs(lr, hr, scale), strict=True)
    ):
        height, width = lr.entries[partner].height, lr.entries[partner].width
        yield Photograph(
            entry.name,
            hr.window(number, 0, 0, scale * height, scale * width),
            lr.window(partner, 0, 0, height, width),
        )


def _as_training(config: TrainConfig) -> Callable[[Photograph, np.random.Generator], Tensor]:
    """What makes LR images as the training's are; only noise comes on top of given ones."""
    made, scale = config.data.degradation, config.generator.scale
    if isinstance(made, RealScene):
        scene = Scene(made, scale, config.data.workers)
        if config.validation.lr is not None:
            return lambda photograph, random: scene.add_noise(photograph.lr, random)
        return lambda photograph, random: scene.degrade(photograph.hr, random)
    if isinstance(made, SecondOrder):
        return lambda photograph, random: degrade(photograph.hr, scale, draw(made, random), random)
    return lambda photograph, _: photograph.lr
