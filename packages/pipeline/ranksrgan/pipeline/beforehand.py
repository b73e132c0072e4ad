"""What is wrong with any stage's settings, told before the first one begins.

A stage begins when those before it have ended, hours later. What it will be told is made here as it
makes it itself (`plan`), with names in place of weights that are not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ranksrgan.contracts.errors import InvalidConfig, MissingAsset, RankSRGANError
from ranksrgan.pipeline import plan
from ranksrgan.pipeline.config import GeneratorStage, PipelineConfig
from ranksrgan.rankdata import BuildConfig
from ranksrgan.rankdata.beforehand import check_here as check_build_here
from ranksrgan.rankdata.building.request import check_metrics
from ranksrgan.ranker.networks import smallest_side
from ranksrgan.ranker.shown import check_size
from ranksrgan.srgan import TrainConfig as GeneratorConfig
from ranksrgan.srgan.training.beforehand import check_here, check_names
from ranksrgan.srgan.training.judged_crops import check_ranked_crop

_SCALE = BuildConfig.model_fields["scale"].default
_WEIGHTS = "made-by-an-earlier-stage.safetensors"


def check_stages(config: PipelineConfig) -> None:
    """Resolve the recipe and settings of every stage, for a run at services.

    Raises:
        RankSRGANError: what the stage would raise, usually `InvalidConfig` or `UnknownName`; its
            message begins with the stage.
    """
    generators = _generators(config)
    with _of("rankdata"):
        levels = plan.levels(config, _WEIGHTS, _WEIGHTS)
        wanted = plan.rank_data_config(
            config, levels, config.training, Path("ranked"), val=config.rankdata.val, test=0.0
        )
        with suppress(MissingAsset):  # the service may have it
            check_metrics(wanted)
    _check_ranker(config, generators["ranksrgan"])


def check_stages_here(config: PipelineConfig) -> None:
    """The same for a run in this process, where devices, networks, metrics and images of stages are
    known too.

    Raises:
        RankSRGANError: as `check_stages`.
    """
    generators = _generators(config)
    for name, training in generators.items():
        with _of(name):
            check_here(training)
    levels = plan.levels(config, _WEIGHTS, _WEIGHTS)
    with _of("rankdata"):
        for wanted in plan.rank_data_configs(config, levels):
            check_build_here(wanted)
    _check_ranker(config, generators["ranksrgan"])


def _check_ranker(config: PipelineConfig, ranked: GeneratorConfig) -> None:
    """Whether the Ranker will take the crops of the rank data, and those that it is to judge."""
    with _of("ranker"):
        wanted = plan.ranker_config(config)
        check_size(wanted, 2 * [config.rankdata.crop], "a crop of the rank data")
    with _of("ranksrgan"):
        check_ranked_crop(ranked, smallest_side(wanted))


def _generators(config: PipelineConfig) -> dict[str, GeneratorConfig]:
    """The trainings of generators that there will be, by stage."""
    from_srgan = plan.from_gan(_WEIGHTS, _WEIGHTS if config.trained is None else None)
    stages: dict[str, tuple[GeneratorStage | None, list[str]]] = {
        "srresnet": (config.srresnet if config.trained is None else None, []),
        "srgan": (config.srgan if config.trained is None else None, plan.from_generator(_WEIGHTS)),
        "ranksrgan": (config.ranksrgan, [*from_srgan, plan.ranked_by(_WEIGHTS)]),
        "control": (config.control, from_srgan),
    }
    made = {}
    for name, (stage, start) in stages.items():
        if stage is None:
            continue
        with _of(name):
            made[name] = plan.generator_config(config, stage, start)
            check_names(made[name])
            scale = made[name].generator.scale
            if scale != _SCALE:
                raise InvalidConfig(
                    f"generator.scale is {scale}; the rank data of a pipeline has scale {_SCALE}",
                    field="generator.scale",
                )
    return made


@contextmanager
def _of(stage: str) -> Iterator[None]:
    try:
        yield
    except RankSRGANError as error:
        error.message = f"stage {stage}: {error.message}"
        raise
