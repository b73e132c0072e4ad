"""What each stage of a pipeline is told, whether it runs here or at a service.

Folders, weights and Rankers are texts: paths for stages in this process, names of the data root
(``images/faces``, ``generators/first-srgan``) for stages at services. All else is the same, and so
the results are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.pipeline.config import GeneratorStage, PipelineConfig, blend_level
from ranksrgan.rankdata import BuildConfig
from ranksrgan.ranker import TrainConfig as RankerConfig
from ranksrgan.ranker import load_recipe as load_ranker_recipe
from ranksrgan.ranker.networks import load_network
from ranksrgan.ranker.shipped import SHIPPED as RANKERS
from ranksrgan.srgan import TrainConfig as GeneratorConfig
from ranksrgan.srgan import load_recipe


def generator_config(
    config: PipelineConfig, stage: GeneratorStage, start: Sequence[str] = ()
) -> GeneratorConfig:
    """The training of a generator.

    Args:
        config: of the run.
        stage: of it.
        start: what the stage takes over from earlier ones, each ``section.key=value``.

    Raises:
        InvalidConfig: a setting that the recipe does not have, or an impossible combination.
        UnknownName: no such recipe.
    """
    settings = [
        *stage.settings,
        _set("data.hr", str(config.training)),
        _set("validation.hr", str(config.held_out)),
        f"run.seed={config.seed}",
        *start,
    ]
    return load_recipe(stage.recipe, settings)


def from_generator(weights: str) -> list[str]:
    """Settings to go on from a generator."""
    return [_set("generator.weights", weights)]


def from_gan(generator: str, discriminator: str | None) -> list[str]:
    """Settings to go on from a generator and from what was trained against it, or a new one."""
    start = from_generator(generator)
    return (
        start if discriminator is None else [*start, _set("discriminator.weights", discriminator)]
    )


def ranked_by(ranker: str) -> str:
    """The setting that gives the rank-content loss its Ranker."""
    return f"losses.rank.rankers=[{{spec: {json.dumps(ranker)}}}]"


def levels(config: PipelineConfig, srresnet: str, srgan: str) -> dict[str, str]:
    """The paper's levels, from the worst to HR."""
    blends = sorted(config.rankdata.interpolations, reverse=True)
    return {
        "srresnet": srresnet,
        "srgan": srgan,
        **{blend_level(blend): f"interpolate:srgan:{blend}" for blend in blends},
        "hr": "hr",
    }


def rank_data_config(
    config: PipelineConfig,
    levels: Mapping[str, str],
    images: Path,
    output: Path,
    *,
    val: float,
    test: float,
) -> BuildConfig:
    """The build of a rank dataset, with so large shares of its images for each split."""
    stage = config.rankdata
    return BuildConfig(
        hr=images,
        output=output,
        levels=dict(levels),
        metric=stage.metric,
        crop=stage.crop,
        stride=stage.stride,
        min_sharpness=stage.min_sharpness,
        val=val,
        test=test,
        seed=config.seed,
    )


def rank_data_configs(
    config: PipelineConfig, levels: Mapping[str, str]
) -> tuple[BuildConfig, BuildConfig]:
    """The builds of a run in this process: of the training images and of the held-out ones."""
    ranked, val = config.output / "3-rankdata", config.rankdata.val
    return (
        rank_data_config(config, levels, config.training, ranked / "training", val=val, test=0.0),
        rank_data_config(config, levels, config.held_out, ranked / "held-out", val=0.0, test=1.0),
    )


def ranker_config(config: PipelineConfig) -> RankerConfig:
    """The training of the Ranker, in the size of what it begins from.

    Raises:
        InvalidConfig: an unknown setting or an impossible combination.
        UnknownName: no such recipe.
        InvalidCheckpoint: what it begins from is no Ranker.
    """
    settings = [*config.ranker.settings, f"seed={config.seed}"]
    if start := ranker_start(config):
        network = load_network(load_weights(RANKERS.resolve(start)))
        settings += [f"architecture={network.architecture}", f"width={network.options['width']}"]
    return load_ranker_recipe(config.ranker.recipe, settings)


def ranker_start(config: PipelineConfig) -> Path | None:
    """What the Ranker's training begins from."""
    started = config.trained.ranker if config.trained else None
    return None if started is None else Path(started)


def _set(key: str, text: str) -> str:
    """An override in quotes, since YAML reads meaning into some characters."""
    return f"{key}={json.dumps(text)}"
