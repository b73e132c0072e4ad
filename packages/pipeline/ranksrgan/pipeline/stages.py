"""The three stages of RankSRGAN in one process, each in a folder of its own.

    1-srresnet   pixels alone
    2-srgan      from 1, with the adversarial loss
    3-rankdata   versions of the training images, ordered by the metric; held-out images likewise
    4-ranker     learns the orders
    5-ranksrgan  from 2, with the rank-content loss
    6-control    from 2, as many steps without it

A run that is given trained networks takes them for 1 and 2, and 4 goes on from a Ranker. One that
was interrupted goes on where it stood: trainings resume from their last state, and a
rank dataset that is there is taken as it is if the same parameters, versions, images and weights
would make it. What was made from images or weights that others have replaced since is neither: it
is refused. Where the folder of the run lies does not count: it may be moved.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ranksrgan.contracts import Upscaler, open_pair_source, open_scorer, open_upscaler
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.training_folder import configured_by
from ranksrgan.pipeline import plan
from ranksrgan.pipeline.beforehand import check_stages_here
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.rankdata import BuildConfig, build, difference_from
from ranksrgan.rankdata.folder import holds_dataset
from ranksrgan.ranker import RankEvaluation
from ranksrgan.ranker import evaluate as evaluate_ranker
from ranksrgan.ranker import train as train_ranker
from ranksrgan.srgan import Evaluation
from ranksrgan.srgan import TrainConfig as GeneratorConfig
from ranksrgan.srgan import evaluate as evaluate_upscaler
from ranksrgan.srgan import train as train_generator

log = logging.getLogger(__name__)

DISCRIMINATOR_FILE = "discriminator.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes:
        folder: of the run.
        ranker: the Ranker's weights.
        ranker_held_out: how well it orders versions of the held-out images.
        models: what `open_upscaler` takes, by the method's name, worst first: bicubic, SRResNet,
            the control ("SRGAN continued") if there is one, RankSRGAN, and what it is to be
            compared with.
        scores: of each method on the held-out images.
        scale: of the models.
        weights: that were trained, by the stage's name (``5-ranksrgan``).
    """

    folder: Path
    ranker: Path
    ranker_held_out: RankEvaluation
    models: dict[str, str]
    scores: dict[str, Evaluation]
    scale: int
    weights: dict[str, Path]

    @property
    def better_than_control(self) -> bool | None:
        """Whether RankSRGAN's mean NIQE is below the control's; None without a control."""
        if CONTROL not in self.scores:
            return None
        ours, theirs = (self.scores[name].mean("niqe") for name in (RANKSRGAN, CONTROL))
        return ours is not None and theirs is not None and ours < theirs


BICUBIC, SRRESNET, CONTROL, RANKSRGAN = "bicubic", "SRResNet", "SRGAN continued", "RankSRGAN"


def run(config: PipelineConfig) -> Outcome:
    """Run or continue every stage, then judge the results on the held-out images.

    Raises:
        InvalidConfig: a setting that a recipe does not have, or an impossible combination, of any
            stage, before the first one begins; a training in the folder started from other weights
            than it would now.
        InvalidDataset: the folder holds a rank dataset made with other parameters, versions, images
            or weights; says which.
        InvalidCheckpoint: the folder holds a training with another configuration.
        InvalidInput: the folder has the ``config.yaml`` of something else.
        RankSRGANError: whatever a stage raises; what was finished stays.
    """
    out = config.output
    _check_folder(out)
    check_stages_here(config)
    write_run_record(out, config, config.seed)
    srresnet, start, weights = _beginning(config)
    log.info("3 of 6: rank data")
    levels = plan.levels(config, srresnet, start.srgan)
    training, held_out = plan.rank_data_configs(config, levels)
    for wanted in (training, held_out):
        _rank_data(wanted)
    log.info("4 of 6: Ranker")
    ranker = weights["4-ranker"] = _ranker(config, training.output, out / "4-ranker")
    judge = open_scorer(str(ranker))
    ranker_held_out = evaluate_ranker(judge, open_pair_source(str(held_out.output)))
    log.info("5 of 6: RankSRGAN")
    settings = plan.from_gan(start.srgan, start.discriminator)
    rank = plan.ranked_by(str(ranker))
    ranksrgan = weights["5-ranksrgan"] = _train(
        plan.generator_config(config, config.ranksrgan, [*settings, rank]), out / "5-ranksrgan"
    )
    scale = open_upscaler(srresnet).info.scale
    models = {BICUBIC: f"bicubic?scale={scale}", SRRESNET: srresnet}
    if config.control is not None:
        log.info("6 of 6: the control, SRGAN for as many steps")
        control = plan.generator_config(config, config.control, settings)
        weights["6-control"] = _train(control, out / "6-control")
        models[CONTROL] = str(weights["6-control"])
    models |= {RANKSRGAN: str(ranksrgan), **config.compare}
    scores = {}
    for name, spec in models.items():
        upscaler: Upscaler = open_upscaler(spec, pinned=True)
        scores[name] = evaluate_upscaler(upscaler, config.held_out, scale, scale, {"ranker": judge})
    return Outcome(out, ranker, ranker_held_out, models, scores, scale, weights)


def _check_folder(folder: Path) -> None:
    """Refuse to put the run's ``config.yaml`` in place of another one's."""
    path = folder / "config.yaml"
    if path.exists() and not configured_by(folder, "held_out"):
        raise InvalidInput(
            f"{path} is not that of a pipeline and would be replaced; choose a new folder",
            field=str(folder),
        )


class _Beginning(NamedTuple):
    """What the rank data and RankSRGAN are made from; a new discriminator if there is none."""

    srgan: str
    discriminator: str | None


def _beginning(config: PipelineConfig) -> tuple[str, _Beginning, dict[str, Path]]:
    """SRResNet's weights, and SRGAN's: as they are given, or trained; and those by the stage."""
    if config.trained is not None:
        log.info("1 and 2 of 6: SRResNet and SRGAN are given")
        return config.trained.srresnet, _Beginning(config.trained.srgan, None), {}
    out = config.output
    log.info("1 of 6: SRResNet")
    srresnet = _train(plan.generator_config(config, config.srresnet), out / "1-srresnet")
    log.info("2 of 6: SRGAN")
    start = plan.from_generator(str(srresnet))
    srgan = _train(plan.generator_config(config, config.srgan, start), out / "2-srgan")
    discriminator = srgan.with_name(DISCRIMINATOR_FILE)
    weights = {"1-srresnet": srresnet, "2-srgan": srgan}
    return str(srresnet), _Beginning(str(srgan), str(discriminator)), weights


def _train(config: GeneratorConfig, folder: Path) -> Path:
    result = train_generator(config, folder)
    if not result.finished:
        raise KeyboardInterrupt  # a signal stopped the training, which has saved its state
    return result.generator


def _rank_data(wanted: BuildConfig) -> None:
    """Build a rank dataset, go on with one, or take the one that is there if it is the same."""
    folder = wanted.output
    if holds_dataset(folder):
        difference = difference_from(wanted)
        if difference is not None:
            raise InvalidDataset(
                f"{folder} holds another rank dataset than this run would make ({difference}); "
                "choose another output, or remove it and the folders of the stages after it",
                field=str(folder),
            )
        return
    build(wanted)


def _ranker(config: PipelineConfig, data: Path, folder: Path) -> Path:
    start = plan.ranker_start(config)
    result = train_ranker(
        plan.ranker_config(config),
        open_pair_source(str(data), split="train"),
        open_pair_source(str(data), split="val"),
        folder,
        begin_from=start,
    )
    return result.weights
