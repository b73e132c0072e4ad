"""What "it works" means: rows of the acceptance table of criteria comparative learning and ESRGAN.

``tests/test_acceptance.py`` lists the tests of all rows.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.metrics import imresize
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig, load_recipe
from ranksrgan.srgan.data.noise_pool import Flat, NoisePool
from ranksrgan.srgan.discriminators import VGG128Discriminator
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet
from ranksrgan.srgan.interpolation import interpolate
from ranksrgan.srgan.losses import adversarial_loss
from ranksrgan.srgan.losses.contrast import Criteria, contrast_loss
from ranksrgan.srgan.training.encoders import VGG19Features
from ranksrgan.srgan.training.features import open_feature_network

CONTRAST = ("cria_ratio", "cria_align_negative", "cria_align_uniform")


class Blurred(torch.nn.Module):
    """Features that need no weights."""

    name = "blurred"

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        return {"blurred": torch.nn.functional.avg_pool2d(images, 4)}


def tiny(recipe: str, hr: Path, *changes: str) -> TrainConfig:
    overrides = [f"data.hr={hr}", "data.crop=32", "data.batch=2", "data.workers=1"]
    overrides += ["generator.features=16", "generator.blocks=1", "generator.growth=8"]
    overrides += ["discriminator.width=4", "optimiser.generator_lr=2e-3", "run.device=cpu"]
    overrides += ["run.precision=float32", "run.tensorboard=false"]
    overrides += ["losses.perceptual.network=null"]
    return load_recipe(recipe, [*overrides, *changes])


def losses_of(config: TrainConfig, folder: Path) -> tuple[list[dict[str, float]], bytes]:
    """Of each step, and the weights that the training leaves."""
    seen: list[dict[str, float]] = []
    train(config, folder, feature_network=Blurred(), on_step=lambda _, v: seen.append({**v}))
    return seen, (folder / "generator.safetensors").read_bytes()


def test_cria_cl_edl_shapes_parameters_mask_and_sum() -> None:
    with torch.device("meta"):
        official = TwoViewRRDBNet()
    official.to_empty(device="cpu").train()  # shapes are all that is looked at
    with torch.no_grad():
        views = official(torch.zeros(1, 3, 32, 32))
    assert [tuple(view.shape) for view in views] == [(1, 3, 128, 128)] * 3
    sizes = {name: p.numel() for name, p in official.named_parameters()}
    projector = {"branch1", "branch2", "sm", "tail_conv1", "tail_conv2"}
    assert sum(sizes.values()) == 17_286_473
    assert sum(n for name, n in sizes.items() if name.partition(".")[0] in projector) == 588_486

    network = TwoViewRRDBNet(64, 1, 4).train()
    with torch.no_grad():
        mask = network.mask(torch.rand(2, 3, 9, 7))
        views = network(torch.rand(2, 3, 5, 6))
    assert mask.shape == (2, 64, 9, 7)
    torch.testing.assert_close(mask.sum(dim=1), torch.ones(2, 9, 7))
    assert 0.006 < mask.min() < 1 / 64 < mask.max() < 0.033
    assert torch.equal(views.fused, views.first + views.second)


def test_cria_cl_edl_sixty_steps_lower_its_loss_by_a_fifth(hr_folder: Path, tmp_path: Path) -> None:
    seen, _ = losses_of(tiny("cria_edl", hr_folder, "run.steps=60"), tmp_path / "run")
    losses = [step["generator"] for step in seen]
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])


def test_cria_cl_edl_contrasts_of_weight_0_leave_it_bitwise(
    hr_folder: Path, tmp_path: Path
) -> None:
    off = [f"losses.contrast.{name}=0" for name in ("alignment", "negative", "uniformity")]
    _, base = losses_of(tiny("cria_edl", hr_folder, "run.steps=3"), tmp_path / "edl")
    for recipe in ("cria_align_negative", "cria_align_uniform"):
        _, without = losses_of(tiny(recipe, hr_folder, "run.steps=3", *off), tmp_path / recipe)
        assert without == base
        _, with_it = losses_of(tiny(recipe, hr_folder, "run.steps=3"), tmp_path / f"{recipe}-on")
        assert with_it != base


def test_cria_cl_edl_criteria_leave_the_other_s_branch_alone() -> None:
    network = TwoViewRRDBNet(8, 1, 4).train()
    views = network(torch.rand(1, 3, 8, 8))
    judge = torch.nn.Conv2d(3, 1, 4)
    gan = adversarial_loss(judge(views.first), torch.zeros(1, 1, 2, 2), "relativistic")
    pixel = (views.second - torch.rand(1, 3, 32, 32)).abs().mean()
    for loss, own, other in ((gan, "1", "2"), (pixel, "2", "1")):
        network.zero_grad()
        loss.backward(retain_graph=True)
        for name, parameter in network.named_parameters():
            layer = name.partition(".")[0]
            got = parameter.grad is not None and bool(parameter.grad.any())
            if layer in {f"branch{other}", f"tail_conv{other}"}:
                assert not got, name
            elif layer in {f"branch{own}", f"tail_conv{own}", "sm", "conv_first", "conv_last"}:
                assert got, name


def test_cria_cl_edl_ratio_is_finite_where_the_pixel_loss_is_0() -> None:
    zero = torch.zeros((), requires_grad=True)
    one = torch.ones(())
    loss = contrast_loss("ratio", Criteria({"first": zero}, one, {"fused": one}))
    loss.backward()
    assert loss.isfinite()
    assert zero.grad is not None
    assert zero.grad.isfinite()


@pytest.mark.parametrize("recipe", CONTRAST)
def test_cria_cl_edl_contrasts_are_logged_with_their_components(
    recipe: str, hr_folder: Path, tmp_path: Path
) -> None:
    (step,), _ = losses_of(tiny(recipe, hr_folder, "run.steps=1"), tmp_path / "run")
    assert all(math.isfinite(value) for value in step.values())
    wanted = {"pixel", "perceptual", "adversarial"}
    wanted |= {
        "cria_ratio": {"contrast.ratio", "pixel.first", "adversarial.fused"},
        "cria_align_negative": {"contrast.alignment", "contrast.negative"},
        "cria_align_uniform": {"contrast.alignment", "contrast.uniformity", "pixel.fused"}
        | {"adversarial.fused", "adversarial.second"},
    }[recipe]
    assert set(step) == wanted | {"generator", "discriminator"}


def test_real_scene_noise_and_degradation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    variances = [0, 4, 16, 19, 25, 100]
    patches = [
        120 + random.normal(0, max(v, 0.01) ** 0.5, (64, 64, 1)).repeat(3, 2) for v in variances
    ]
    pixels = np.concatenate(patches, axis=1).round().clip(0, 255).astype(np.uint8)
    write_image(tmp_path / "wall.png", Picture(pixels))
    kept = list(Flat(patch=64).patches(pixels))
    assert len(kept) == 4
    assert all(patch[..., 0].var() < 20 for patch in kept)
    pool = NoisePool.collect(tmp_path, Flat(patch=64), 32, workers=1)
    for _ in range(20):
        assert np.abs(pool.draw(32, 32, random).mean(axis=(0, 1))).max() < 1e-6

    rows, columns = np.mgrid[:64, :48] / 64
    ramp = torch.from_numpy(np.stack([rows, columns, (rows + columns) / 2]))[None]
    small = imresize(ramp, 1 / 4)[0, :, 2:-2, 2:-2]
    for axis in (1, 2):
        assert small.diff(n=2, dim=axis).abs().max() < 1e-9
    torch.testing.assert_close(small[0, :, 0], (4 * torch.arange(2, 14).double() + 1.5) / 64)


def test_esrgan_base(encoder_files: dict[str, Path]) -> None:
    with torch.device("meta"):
        networks = RRDBNet(), VGG128Discriminator()
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [16_697_987, 14_499_401]

    a, b = RRDBNet(4, 1, 2), RRDBNet(4, 1, 2)
    ends = {0.0: a.state_dict(), 1.0: b.state_dict()}
    for alpha, state in ends.items():
        found = interpolate(a, b, alpha)
        assert all(torch.equal(found[key], value) for key, value in state.items())
    for key, value in interpolate(a, b, 0.5).items():
        torch.testing.assert_close(value, (ends[0.0][key] + ends[1.0][key]) / 2)

    same = torch.full((4, 1), 0.7)
    found = adversarial_loss(same, same, "relativistic").item()
    assert found == pytest.approx(0.6931, abs=1e-4)

    network = open_feature_network(str(encoder_files["vgg19"]), torch.device("cpu"))
    assert isinstance(network, VGG19Features)
    features = network.extract(torch.rand(1, 3, 32, 32))
    assert list(features) == ["conv5_4"]
    assert features["conv5_4"].min() < 0
