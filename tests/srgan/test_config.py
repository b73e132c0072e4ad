from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.config import dump_yaml, load_config
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.srgan.config import (
    Constant,
    Cosine,
    GeneratorConfig,
    MultiStep,
    TrainConfig,
    load_recipe,
)
from ranksrgan.srgan.generators.architectures import TRAINABLE
from ranksrgan.srgan.training.schedule import learning_rate


def test_recipes_hold_the_published_numbers() -> None:
    content = load_recipe("srresnet")
    assert content.losses.pixel.weight == 1
    assert content.discriminator is None
    assert (content.optimiser.generator_lr, content.run.steps) == (2e-4, 1_000_000)
    assert content.optimiser.schedule == Cosine(period=250_000, minimum=1e-7)
    assert (content.data.crop, content.data.batch) == (128, 16)

    srgan = load_recipe("srgan")
    losses = srgan.losses
    assert (losses.pixel.weight, losses.perceptual.weight) == (0.01, 1)
    assert (losses.adversarial.weight, losses.rank.weight) == (0.005, 0)
    assert (srgan.data.crop, srgan.data.batch, srgan.run.steps) == (128, 16, 400_000)

    rank = load_recipe("ranksrgan")
    losses = rank.losses
    assert (losses.pixel.weight, losses.perceptual.weight) == (0, 1)
    assert losses.adversarial.weight == 0.005
    assert losses.rank.weight == pytest.approx(0.03 * rank.data.batch)
    assert (rank.data.crop, rank.data.batch, rank.run.steps) == (296, 8, 500_000)
    milestones = (50_000, 100_000, 200_000, 300_000)
    assert rank.optimiser.schedule == MultiStep(milestones=milestones, factor=0.5)
    for recipe in (content, srgan, rank):
        assert recipe.optimiser.betas == (0.9, 0.99)
        assert recipe.generator == GeneratorConfig(features=64, blocks=16, scale=4)


def test_a_resolved_configuration_reads_back_the_same(tmp_path: Path) -> None:
    config = load_recipe("ranksrgan", ["losses.rank.rankers=[{spec: r.safetensors, weight: 0.5}]"])
    assert config.losses.rank.rankers[0].weight == 0.5
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config
    assert load_recipe(tmp_path / "config.yaml") == config


def test_overrides_reach_every_level() -> None:
    config = load_recipe("srgan", ["run.steps=7", "optimiser.schedule={kind: constant}"])
    assert config.run.steps == 7
    assert config.optimiser.schedule == Constant()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "losses.pixl.weight=1",
            r"losses\.pixl\.weight=1: losses\.pixl: unknown key; did you mean losses\.pixel\?",
        ),
        ("data.crop=30", "multiple of the scale"),
        ("data.crop=28", "32 pixels or more"),
        ("discriminator=null", "go together"),
        ("losses.adversarial.weight=0", "go together"),
        ("losses.adversarial.weight=-1", "losses.adversarial.weight"),
        (
            "losses.rank.jitter=128",
            r"losses\.rank\.jitter is 128; crops of 128 pixels leave nothing",
        ),
        ("optimiser.ema=1", "optimiser.ema"),
        ("optimiser.betas=[0.9, 1.0]", r"optimiser\.betas\.1"),
        ("optimiser.betas=[-0.1, 0.9]", r"optimiser\.betas\.0"),
        ("optimiser.generator_lr=.inf", r"optimiser\.generator_lr"),
        ("losses.pixel.weight=.nan", r"losses\.pixel\.weight"),
        ("losses.rank.bias=.nan", r"losses\.rank\.bias"),
        ("run.seed=4294967296", r"run\.seed"),
        ("data={round: false, lr: lr}", r"data\.round=false is for LR images that bicubic makes"),
        ("data={round: false, degradation: {kind: second_order}}", r"data\.round=false is for"),
        ("generator.scale=8", "generator.scale"),
        ("run.precision=half", "run.precision"),
        ("optimiser.schedule.kind=step", "optimiser.schedule"),
        (
            "optimiser.schedule.milestones=[5, 5, 7]",
            r"optimiser\.schedule\.milestones=.*: 5 follows 5; each milestone is a later step",
        ),
        ("optimiser.schedule.milestones=[5, 9, 3]", "3 follows 9"),
        (
            "optimiser={generator_lr: 1e-3, schedule: {kind: cosine, period: 9, minimum: 2e-4}}",
            r"optimiser\.schedule\.minimum is 0\.0002, above optimiser\.discriminator_lr, 0\.0001",
        ),
        (
            "optimiser={discriminator_lr: 1, schedule: {kind: cosine, period: 9, minimum: 1e-3}}",
            r"optimiser\.schedule\.minimum is 0\.001, above optimiser\.generator_lr, 0\.0001",
        ),
        ("validation.scorers=[rmse, ssim]", "ssim would be two columns .*; psnr, ssim, niqe, rmse"),
        ("validation.scorers=[pi]", "pi would be two columns of one name"),  # of if_available
        ("validation.if_available=[niqe]", r"niqe would be two columns .*\(.* niqe\?border=0\)"),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_recipe("srgan", [override])


def test_a_minimum_is_compared_with_rates_that_are_used() -> None:
    schedule = "schedule: {kind: cosine, period: 9, minimum: 2e-4}"
    override = f"optimiser={{generator_lr: 2e-4, discriminator_lr: 1e-4, {schedule}}}"
    assert load_recipe("srresnet", [override]).optimiser.generator_lr == 2e-4


def test_what_is_written_says_nothing_of_younger_keys_that_change_nothing() -> None:
    """Experiments and states of trainings are addressed by it."""
    written = load_recipe("ranksrgan").model_dump(mode="json")
    assert written["validation"]["border"] == 4
    assert written["validation"]["drift"] is None
    assert not {"lr", "degradation"} & written["validation"].keys()
    assert "round" not in written["data"]
    assert "statistics" not in written["losses"]["rank"]
    assert list(written["validation"])[:3] == ["hr", "every", "border"]
    published = load_recipe("ranksrgan_as_published").model_dump(mode="json")
    assert published["data"]["round"] is False
    assert published["losses"]["rank"]["statistics"] == "batch"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_border_that_is_not_given_is_the_scale(scale: int) -> None:
    crop = ["data.crop=96", f"generator.scale={scale}"]
    config = load_recipe("srresnet", crop)
    assert config.border == config.validation.border == scale
    assert load_recipe("srresnet", [*crop, "validation.border=4"]).border == 4
    assert load_recipe("srresnet", [*crop, "validation.border=0"]).border == 0


def test_batch_normalisation_over_one_value_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="single value"):
        load_recipe("srgan", ["data.crop=60", "data.batch=1"])
    assert load_recipe("srgan", ["data.crop=64", "data.batch=1"]).data.batch == 1


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="nothing to learn"):
        load_recipe("srresnet", ["losses.pixel.weight=0"])


def test_unknown_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"wgan is neither a recipe \(cria_.*srresnet\)"):
        load_recipe("wgan")
    with pytest.raises(UnknownName):
        load_recipe("../recipes/srgan")
    with pytest.raises(InvalidConfig, match="No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_learning_rates_by_hand() -> None:
    steps = MultiStep(milestones=(10, 20), factor=0.5)
    rates = [learning_rate(steps, 0.8, step) for step in (1, 9, 10, 19, 20, 99)]
    assert rates == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    cosine = Cosine(period=4, minimum=0.2)
    rates = [learning_rate(cosine, 1.0, step) for step in (1, 2, 3, 4, 5)]
    assert rates == pytest.approx([1.0, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 1.0])
    assert learning_rate(Constant(), 0.3, 10**6) == 0.3


def test_sizes_that_are_not_given_are_the_architectures_published_ones() -> None:
    published = {
        "srresnet": {"features": 64, "blocks": 16, "scale": 4},
        "msrresnet": {"features": 64, "blocks": 16, "scale": 4},
        "rrdbnet": {"features": 64, "blocks": 23, "growth": 32, "scale": 4},
        "two_view_rrdbnet": {"features": 64, "blocks": 23, "growth": 32, "scale": 4},
        "edsr": {"features": 64, "blocks": 16, "scale": 4},
        "fsrcnn": {"features": 56, "blocks": 4, "bottleneck": 12, "scale": 4},
    }
    assert set(published) == set(TRAINABLE)
    for architecture, options in published.items():
        config = GeneratorConfig(architecture=architecture)
        assert config.options() == options
        assert TRAINABLE[architecture](**config.options()).options.items() >= options.items()
        assert GeneratorConfig.model_validate(config.model_dump()) == config
    smaller = GeneratorConfig(architecture="rrdbnet", blocks=6, scale=2)
    assert smaller.options() == {"features": 64, "blocks": 6, "growth": 32, "scale": 2}
    config = load_recipe("srresnet", ["generator={architecture: fsrcnn, scale: 2}"])
    assert config.generator.options() == {
        "features": 56,
        "blocks": 4,
        "bottleneck": 12,
        "scale": 2,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generator.architecture=swinir", "generator.architecture"),
        ("generator.growth=16", "growth is for rrdbnet and two_view_rrdbnet alone"),
        ("generator={architecture: rrdbnet, bottleneck: 3}", "bottleneck is for fsrcnn alone"),
        ("generator={architecture: rrdbnet, growth: null}", "growth is for rrdbnet and two_view"),
        ("generator={architecture: edsr, as_published: true}", "edsr starts as published"),
        ("discriminator.architecture=vgg_296", "crop is 128; .* vgg_296 takes 288 to 319 pixels"),
        ("discriminator={architecture: unet}", "crop is 100; .* unet takes .* a multiple of 8"),
        ("discriminator={architecture: patch}", "crop is 20; .* patch takes 24 pixels or more"),
    ],
)
def test_impossible_networks_are_refused(override: str, message: str) -> None:
    crop = {"unet": 100, "patch": 20}.get(override[29:-1], 128)
    with pytest.raises(InvalidConfig, match=message):
        load_recipe("srgan", [override, f"data.crop={crop}"])


def test_crops_that_the_discriminators_take() -> None:
    for architecture, crop in (("vgg_128", 128), ("vgg_296", 296), ("unet", 64), ("patch", 24)):
        overrides = [f"discriminator.architecture={architecture}", f"data.crop={crop}"]
        config = load_recipe("srgan", overrides)
        assert config.discriminator is not None
        assert config.discriminator.architecture == architecture


def test_no_mapping_keeps_the_order_in_which_it_was_written() -> None:
    layers = {"relu5_1": 1.0, "conv10": 0.5, "conv2_2": 0.1}
    best = {"lpips": 10.0, "niqe": 1.0, "psnr": 0.1}
    made = [
        TrainConfig.model_validate(
            {
                "losses": {"pixel": {"weight": 1}, "perceptual": {"layers": in_turn(layers)}},
                "validation": {"best": in_turn(best)},
            }
        )
        for in_turn in (dict, lambda mapping: dict(reversed(mapping.items())))
    ]
    assert list(made[0].losses.perceptual.layers) == ["conv2_2", "conv10", "relu5_1"]
    assert list(made[0].validation.best) == ["psnr", "niqe", "lpips"]
    assert dump_yaml(made[0]) == dump_yaml(made[1])
