"""What can be told of a training without beginning it, for what trains several one after another.

A training finds all of this out itself, before its first step; here it costs no network but scorers
of the losses, and at most a few images.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import list_images
from ranksrgan.srgan.config import STANDARD_COLUMNS, TrainConfig
from ranksrgan.srgan.data.crops import Photograph, read_photograph
from ranksrgan.srgan.evaluate import standard_scorers
from ranksrgan.srgan.training.best import BestRule
from ranksrgan.srgan.training.drift import DriftAlarm
from ranksrgan.srgan.training.features import require_network_file
from ranksrgan.srgan.training.judged_crops import check_judged, open_here
from ranksrgan.srgan.training.validate import has_value, ranker_columns, unfit


def check_names(config: TrainConfig) -> None:
    """Whether ``validation.best`` and ``validation.drift`` name what a validation will have.

    Raises:
        InvalidConfig: they do not.
    """
    validation = config.validation
    names = (
        *STANDARD_COLUMNS,
        *ranker_columns(len(config.losses.rank.rankers)),
        *validation.scorers,
        *validation.if_available,
    )
    directions = dict.fromkeys(names, True)
    BestRule(validation.best, directions)
    if validation.drift is not None:
        DriftAlarm(validation.drift, directions)


def check_here(config: TrainConfig) -> None:
    """Whether this machine has the device, the network of the perceptual loss, scorers of
    ``losses.scorers`` that take the crops, and an image that PSNR, SSIM or NIQE can choose the best
    weights by.

    Rankers are not looked at: they may not be there yet.

    Raises:
        InvalidConfig: no such device, no image of ``validation.hr`` is fit, or see `check_judged`.
        InvalidCheckpoint, MissingAsset: the file of ``losses.perceptual.network`` is not here.
        InvalidInput, InvalidImage, InvalidDataset: no such images, or one that cannot be read.
    """
    choose_device(config.run.device, field="run.device")
    perceptual, validation = config.losses.perceptual, config.validation
    if perceptual.weight and perceptual.network is not None:
        require_network_file(perceptual.network)
    check_judged(config, (), open_here(config.losses.scorers))
    if validation.hr is None or validation.lr is not None:
        return
    best = {validation.best} if isinstance(validation.best, str) else set(validation.best)
    for metric, scorer in standard_scorers(config.border).items():
        # One at a time, and no further than to the first that is fit.
        if metric in best and not any(has_value(scorer, one) for one in _photographs(config)):
            raise InvalidConfig(unfit(metric), field="validation.best")


def _photographs(config: TrainConfig) -> Iterator[Photograph]:
    if config.validation.hr is not None:
        for path in list_images(config.validation.hr):
            yield read_photograph(path, config.generator.scale)
