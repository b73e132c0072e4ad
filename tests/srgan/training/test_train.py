from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from ranksrgan.contracts.assets import get_asset
from ranksrgan.contracts.checkpoint import load_state, load_weights, save_state, save_weights
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    DiskFull,
    ImageTooSmall,
    InternalError,
    InvalidCheckpoint,
    InvalidConfig,
    InvalidImage,
    InvalidInput,
    Overloaded,
    ServiceUnavailable,
    TrainingDiverged,
    Unauthenticated,
)
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.srgan import load_generator, train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import open_crops
from ranksrgan.srgan.discriminators import VGGDiscriminator, save_discriminator
from ranksrgan.srgan.foreign.imdn import IMDN
from ranksrgan.srgan.training import local_scorer
from ranksrgan.srgan.training.run import _listed
from ranksrgan.srgan.training.state import BEST_FILE, STATE_FILE, Training

MakeConfig = Callable[..., TrainConfig]


def weights(folder: Path) -> list[str]:
    names = ("generator.safetensors", "discriminator.safetensors")
    return [load_weights(folder / name).sha256 for name in names if (folder / name).is_file()]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_training_lowers_the_loss(config: MakeConfig, tmp_path: Path) -> None:
    chosen = config(
        optimiser={"generator_lr": 5e-3}, data={"batch": 4, "crop": 32}, run={"steps": 200}
    )
    losses: list[float] = []
    result = train(chosen, tmp_path / "run", on_step=lambda _, v: losses.append(v["pixel"]))
    assert result.finished
    assert result.step == 200
    # The mean colour alone would stay at 0.2, as these waves deviate from it by that much.
    assert np.mean(losses[-10:]) < 0.12 < 0.3 < np.mean(losses[:10])
    assert load_generator(result.generator).options == {"features": 8, "blocks": 2, "scale": 4}
    assert result.discriminator is None
    assert result.best is None
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seed"] == 10
    assert (tmp_path / "run" / "config.yaml").read_text() == dump_yaml(chosen)


def test_one_step_by_hand(gan: MakeConfig, tmp_path: Path, toy_ranker) -> None:
    """Both updates of a step, from the losses' definitions and Adam's first step."""
    chosen = gan(
        run={"steps": 1},
        losses={"rank": {"weight": 0.5}},
        optimiser={"generator_lr": 1e-3, "discriminator_lr": 2e-3},
    )
    start = Training.start(chosen, torch.device("cpu"))
    batch = open_crops(chosen).batch(1)
    lr, hr = batch.lr / 255, batch.hr / 255
    assert start.discriminator is not None
    sr = start.generator(lr)
    ranker = toy_ranker()
    total = (
        0.1 * (sr - hr).abs().mean() + 0.5 * torch.sigmoid(ranker.network(sr.clamp(0, 1))).mean()
    )
    total = total - 0.01 * torch.sigmoid(start.discriminator(sr)).log().mean()
    parameters = list(start.generator.parameters())
    gradients = torch.autograd.grad(total, parameters)
    expected_g = [
        p.detach() - 1e-3 * g / (g.abs() + 1e-8) for p, g in zip(parameters, gradients, strict=True)
    ]
    loss = -torch.sigmoid(start.discriminator(hr)).log().mean()
    loss = loss - (1 - torch.sigmoid(start.discriminator(sr.detach()))).log().mean()
    parameters = list(start.discriminator.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    expected_d = [
        p.detach() - 2e-3 * g / (g.abs() + 1e-8) for p, g in zip(parameters, gradients, strict=True)
    ]

    seen: dict[str, float] = {}
    result = train(
        chosen, tmp_path, rankers=[(ranker, 1.0)], on_step=lambda _, values: seen.update(values)
    )
    assert seen["generator"] == pytest.approx(total.item(), rel=1e-5)
    assert seen["discriminator"] == pytest.approx(loss.item(), rel=1e-5)
    assert set(seen) == {"pixel", "rank", "adversarial", "generator", "discriminator"}
    for path, expected in ((result.generator, expected_g), (result.discriminator, expected_d)):
        assert path is not None
        tensors = load_weights(path).tensors
        found = [value for key, value in tensors.items() if "running" not in key]
        found = [value for value in found if value.is_floating_point()]
        names = [k for k, v in tensors.items() if "running" not in k and v.is_floating_point()]
        network = start.generator if path == result.generator else start.discriminator
        for (name, _), wanted in zip(network.named_parameters(), expected, strict=True):
            value = found[names.index(name)]
            # Adam's first step is the sign of the gradient; only tiny ones may differ.
            close = (value - wanted).abs() < 1e-5
            assert close.float().mean() > 0.98, name


def test_the_same_seed_gives_the_same_weights(gan: MakeConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(gan(), tmp_path / name)
        torch.rand(7)
    train(gan(run={"seed": 11}), tmp_path / "c")
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    assert len(weights(tmp_path / "a")) == 2


def test_the_average_of_the_weights_is_what_is_written(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    """Every step's weights, as runs of 1, 2 and 3 steps leave them, averaged by hand."""
    fast = {"generator_lr": 1e-2}
    plain = [
        load_weights(
            train(config(run={"steps": n}, optimiser=fast), tmp_path / str(n)).generator
        ).tensors
        for n in (1, 2, 3)
    ]
    start = Training.start(config(), torch.device("cpu")).generator.state_dict()
    chosen = config(
        run={"steps": 3},
        optimiser={**fast, "ema": 0.75},
        validation={"hr": str(hr_folder), "every": 3},
    )
    result = train(chosen, tmp_path / "ema")
    written = load_weights(result.generator).tensors
    for key, value in start.items():
        expected = value
        for tensors in plain:
            expected = 0.75 * expected + 0.25 * tensors[key]
        torch.testing.assert_close(written[key], expected, rtol=1e-5, atol=1e-7)
        assert not torch.equal(written[key], plain[2][key])
    assert result.best is not None  # validated by the average too
    assert load_weights(result.best).sha256 == load_weights(result.generator).sha256


KILLED_AT_13 = """
import os, signal, sys
from pathlib import Path
from ranksrgan.srgan import load_recipe, train
def kill(step, values):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
train(load_recipe(sys.argv[1]), Path(sys.argv[2]), on_step=kill)
"""


@pytest.mark.parametrize("ema", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_ten_steps_a_kill_and_ten_more_are_twenty(
    gan: MakeConfig, hr_folder: Path, tmp_path: Path, ema: float
) -> None:
    chosen = gan(
        run={"steps": 20, "save_every": 10, "log_every": 5},
        validation={"hr": str(hr_folder), "every": 4},
        optimiser={"schedule": {"kind": "multistep", "milestones": [15]}, "ema": ema},
    )
    train(chosen, tmp_path / "straight")
    recipe, folder = tmp_path / "config.yaml", tmp_path / "killed"
    recipe.write_text(dump_yaml(chosen))
    child = subprocess.run([sys.executable, "-c", KILLED_AT_13, str(recipe), str(folder)])
    assert child.returncode == -signal.SIGKILL
    assert [row["step"] for row in rows(folder / "validation.csv")] == ["0", "4", "8", "12"]
    seen: list[int] = []
    result = train(chosen, folder, on_step=lambda step, _: seen.append(step))
    assert seen == list(range(11, 21))
    assert weights(folder) == weights(tmp_path / "straight")
    assert load_weights(folder / BEST_FILE).sha256 == (
        load_weights(tmp_path / "straight" / BEST_FILE).sha256
    )
    for name in ("curves.csv", "validation.csv"):
        found, expected = rows(folder / name), rows(tmp_path / "straight" / name)
        for row in (*found, *expected):
            row.pop("seconds", None)
        assert found == expected
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert result.step == 20


def test_further_metrics_of_the_validation_may_come_and_go(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    """No step depends on them: a machine that a run goes on may have other files."""
    drift = {"optimised": ["psnr"], "held_out": ["ssim"], "over": 3}
    validation = {"hr": str(hr_folder), "every": 1, "drift": drift}
    chosen = config(validation={**validation, "if_available": ["gmsd"]}, run={"steps": 1})
    train(chosen, tmp_path)
    more = {**validation, "if_available": ["rmse"], "drift": drift}
    assert train(config(validation=more, run={"steps": 3}), tmp_path).finished
    found = rows(tmp_path / "validation.csv")
    assert [bool(row["rmse"]) for row in found] == [False, False, True, True]


def test_steps_may_grow_and_a_finished_run_is_left_alone(
    config: MakeConfig, tmp_path: Path
) -> None:
    train(config(run={"steps": 6}), tmp_path / "straight")
    train(config(run={"steps": 3}), tmp_path / "grown")
    result = train(config(run={"steps": 6}), tmp_path / "grown")
    assert result.step == 6
    assert weights(tmp_path / "grown") == weights(tmp_path / "straight")
    seen: list[int] = []
    train(config(run={"steps": 6}), tmp_path / "grown", on_step=lambda step, _: seen.append(step))
    assert seen == []
    with pytest.raises(InvalidConfig, match=r"step 6 already; run\.steps is 5"):
        train(config(run={"steps": 5}), tmp_path / "grown")
    restarted = train(config(run={"steps": 3}), tmp_path / "grown", resume=False)
    assert restarted.step == 3


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("data", {"batch": 3}, r"data\.batch: 2 then, 3 now"),
        ("optimiser", {"generator_lr": 1e-3}, r"optimiser\.generator_lr: 0\.0001 then, 0\.001 now"),
        ("run", {"seed": 3}, r"run\.seed: 10 then, 3 now"),
        ("validation", {"every": 3}, r"validation\.every"),
    ],
)
def test_resuming_with_another_configuration_is_refused(
    config: MakeConfig, tmp_path: Path, section: str, change: dict[str, object], message: str
) -> None:
    train(config(), tmp_path)
    before = weights(tmp_path)
    with pytest.raises(InvalidConfig, match=message):
        train(config(**{section: change}), tmp_path)
    assert weights(tmp_path) == before
    free = {"save_every": 2, "log_every": 2, "tensorboard": False, "steps": 5}
    unused = {"border": 3}  # without a validation
    assert train(config(run=free, data={"workers": 1}, validation=unused), tmp_path).step == 5


def test_resuming_with_other_images_or_another_ranker_is_refused(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, toy_ranker
) -> None:
    chosen = config(losses={"rank": {"weight": 1.0}})
    train(chosen, tmp_path / "run", rankers=[(toy_ranker(0), 1.0)])
    with pytest.raises(InvalidConfig, match=r"losses\.rank\.rankers"):
        train(chosen, tmp_path / "run", rankers=[(toy_ranker(1), 1.0)])
    write_image(hr_folder / "9.png", Picture(np.zeros((80, 80, 3), np.uint8)))
    with pytest.raises(InvalidConfig, match=r"data\.hr \(its content\)"):
        train(chosen, tmp_path / "run", rankers=[(toy_ranker(0), 1.0)])


def test_validation_images_may_move_and_not_change(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    """Which weights are the best so far hangs on them."""
    moved = tmp_path / "moved"
    shutil.copytree(hr_folder, moved)

    def wanted(folder: Path | None, steps: int) -> TrainConfig:
        validation = {"hr": folder and str(folder), "every": 1}
        return config(validation=validation, run={"steps": steps})

    folder = tmp_path / "run"
    train(wanted(hr_folder, 1), folder)
    assert train(wanted(moved, 2), folder).step == 2
    write_image(moved / "0.png", Picture(np.zeros((80, 80, 3), np.uint8)))
    for changed in (moved, None):
        with pytest.raises(InvalidConfig, match=r"validation\.hr \(its content\)"):
            train(wanted(changed, 3), folder)
    state = load_state(folder / STATE_FILE)
    del state["inputs"]["validation.hr"]  # as older states are
    save_state(folder / STATE_FILE, state)
    assert train(wanted(moved, 3), folder).step == 3


def test_a_run_goes_on_without_the_weights_that_it_started_from(
    gan: MakeConfig, tmp_path: Path
) -> None:
    first = train(gan(run={"steps": 1}), tmp_path / "first")
    assert first.discriminator is not None

    def wanted(steps: int, folder: Path = tmp_path / "first") -> TrainConfig:
        return gan(
            run={"steps": steps},
            generator={"weights": str(folder / first.generator.name)},
            discriminator={"width": 4, "weights": str(folder / "discriminator.safetensors")},
        )

    train(wanted(4), tmp_path / "straight")
    run, moved = tmp_path / "run", tmp_path / "moved"
    train(wanted(1), run)
    (tmp_path / "first").rename(moved)
    train(wanted(2), run)
    assert train(wanted(4, moved), run).step == 4
    assert weights(run) == weights(tmp_path / "straight")
    first.generator.parent.mkdir()
    other = train(gan(run={"steps": 1, "seed": 3}), tmp_path / "first").generator
    with pytest.raises(InvalidConfig, match=r"generator\.weights \(its content\)"):
        train(wanted(5, other.parent), run)
    with pytest.raises(InvalidConfig, match=r"generator\.weights \(its content\)"):
        train(gan(run={"steps": 5}), run)  # from none
    shipped = wanted(5, moved)
    shipped = shipped.model_copy(
        update={"generator": shipped.generator.model_copy(update={"weights": Path("srgan")})}
    )
    with pytest.raises(InvalidConfig, match=r"generator\.weights \(its content\)"):
        train(shipped, run)
    with pytest.raises(InvalidCheckpoint, match=r"there is no|no such|not there|missing"):
        train(wanted(1, tmp_path / "nowhere"), tmp_path / "new")


@pytest.mark.parametrize("resume", [True, False])
def test_its_images_and_a_rankers_training_are_not_trained_over(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, resume: bool
) -> None:
    images = {path.name for path in hr_folder.iterdir()}
    with pytest.raises(InvalidInput, match=r"than the training of a generator: .*\.png") as caught:
        train(config(), hr_folder, resume=resume)
    assert caught.value.field == str(hr_folder)
    assert {path.name for path in hr_folder.iterdir()} == images
    (tmp_path / "config.yaml").write_text("width: 64\n")
    for name in ("run.json", "ranker.safetensors", STATE_FILE):
        (tmp_path / name).write_text("weeks of work")
    with pytest.raises(InvalidInput, match=r"ranker\.safetensors, config\.yaml, run\.json;"):
        train(config(), tmp_path, resume=resume)
    assert (tmp_path / "config.yaml").read_text() == "width: 64\n"
    assert (tmp_path / STATE_FILE).read_text() == "weeks of work"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_or_foreign_state_is_refused(config: MakeConfig, tmp_path: Path) -> None:
    train(config(), tmp_path)
    state = tmp_path / STATE_FILE
    state.write_bytes(state.read_bytes()[:-500])
    with pytest.raises(InvalidCheckpoint, match=r"refused|damaged"):
        train(config(), tmp_path)
    torch.save({"iter": 3}, state)
    with pytest.raises(InvalidCheckpoint, match="no state of this kind"):
        train(config(), tmp_path)


def test_a_gan_continues_from_another_runs_generator_and_discriminator(
    gan: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    first = train(gan(), tmp_path / "srgan")
    weights_of = {
        "generator": {"weights": str(first.generator)},
        "discriminator": {"width": 4, "weights": str(first.discriminator)},
        "run": {"steps": 1},
        "optimiser": {"generator_lr": 1e-12, "discriminator_lr": 1e-12},
    }
    control = train(gan(**weights_of), tmp_path / "control")
    ranked = train(
        gan(**weights_of, losses={"rank": {"weight": 0.2}}),
        tmp_path / "ranked",
        rankers=[(toy_ranker(), 1.0)],
    )
    for result in (control, ranked):
        for path in ("generator", "discriminator"):
            before = load_weights(getattr(first, path)).tensors
            after = load_weights(getattr(result, path)).tensors
            for key, value in before.items():
                if "running" not in key and "tracked" not in key:
                    torch.testing.assert_close(after[key], value, rtol=0, atol=1e-9)
    with pytest.raises(
        InvalidConfig, match=r"blocks 2, scale 4\); the configuration says .*blocks 3"
    ):
        train(gan(generator={"weights": str(first.generator), "blocks": 3}), tmp_path / "other")
    save_discriminator(tmp_path / "d.safetensors", VGGDiscriminator(3), {})
    with pytest.raises(
        InvalidConfig, match=r"vgg \(width 3\); the configuration says vgg \(width 4\)"
    ):
        train(
            gan(discriminator={"width": 4, "weights": str(tmp_path / "d.safetensors")}),
            tmp_path / "other",
        )
    with pytest.raises(InvalidCheckpoint, match="holds a discriminator"):
        train(gan(generator={"weights": str(first.discriminator)}), tmp_path / "other")
    torch.save(IMDN(features=8, blocks=2).state_dict(), tmp_path / "imdn.pth")
    with pytest.raises(InvalidConfig, match=r"holds imdn \(.*configuration says srresnet"):
        train(gan(generator={"weights": str(tmp_path / "imdn.pth")}), tmp_path / "other")


def test_the_best_checkpoint_follows_the_metric_and_its_direction(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, toy_ranker
) -> None:
    for best, pick in (("psnr", max), ("ranker", min), ("opposite", max)):
        ranker = toy_ranker(0)
        chosen = config(
            validation={"hr": str(hr_folder), "every": 1, "best": best},
            optimiser={"generator_lr": 2e-2},
            run={"steps": 6},
        )
        result = train(
            chosen,
            tmp_path / best,
            rankers=[(ranker, 1.0)],
            validation_scorers={"opposite": toy_ranker(0, higher_is_better=True)},
        )
        found = rows(tmp_path / best / "validation.csv")
        assert [row["step"] for row in found] == list("0123456")
        assert found[0]["niqe"] == ""
        assert found[0]["niqe_dropped"] == "4"
        assert result.best is not None
        about = load_weights(result.best).about
        values = {int(row["step"]): float(row[best]) for row in found if row["step"] != "0"}
        assert values[about["step"]] == pick(values.values())
        assert about["scores"][best] == pick(values.values())
        assert load_weights(result.generator).about["step"] == 6


def test_a_best_metric_that_nothing_has_stops_at_once(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig, match=r"validation\.best is lpips; it is one of psnr, ssim"):
        train(config(validation={"hr": str(hr_folder), "best": "lpips"}), tmp_path)
    steps: list[int] = []
    with pytest.raises(InvalidConfig, match="no validation image is fit for niqe"):
        train(
            config(validation={"hr": str(hr_folder), "best": "niqe"}),
            tmp_path,
            on_step=lambda step, _: steps.append(step),
        )
    assert steps == []


def test_a_generator_without_a_value_of_the_best_metric_goes_on(
    config: MakeConfig, tmp_path: Path
) -> None:
    """The published start makes black pictures, of which NIQE has none."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    write_image(photographs / "astronaut.png", Picture(skimage.data.astronaut()[:208, :208]))
    chosen = config(
        validation={"hr": str(photographs), "best": "niqe", "every": 1},
        generator={"features": 4, "blocks": 1, "as_published": True},
        run={"steps": 1},
        optimiser={"generator_lr": 1e-9},
    )
    result = train(chosen, tmp_path / "run")
    assert result.scores["niqe"] is None
    assert result.scores["niqe_dropped"] == 1
    assert (result.finished, result.best) == (True, None)


class GoneOnce:
    """A metric in a service that is away when it is asked for the n-th time."""

    info = ScorerInfo(
        name="away",
        version="1",
        higher_is_better=True,
        needs_reference=False,
        differentiable=False,
        min_side=1,
    )

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            raise ServiceUnavailable("away")
        return images.double().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("step", "said"), [(0, "away$"), (2, "away; the training is saved at step 2 ")]
)
def test_a_validation_that_a_service_broke_off_is_made_up_for(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, step: int, said: str
) -> None:
    chosen = config(validation={"hr": str(hr_folder), "best": "psnr", "every": 2}, run={"steps": 2})
    images = len(list(hr_folder.iterdir()))
    scorers = {"away": GoneOnce(at=2 if step == 0 else images + 2)}
    with pytest.raises(ServiceUnavailable, match=said):
        train(chosen, tmp_path / "broken", validation_scorers=scorers)
    assert (tmp_path / "broken" / STATE_FILE).exists() == (step > 0)
    train(chosen, tmp_path / "broken", validation_scorers=scorers)
    train(chosen, tmp_path / "whole", validation_scorers=scorers)
    broken, whole = (rows(tmp_path / name / "validation.csv") for name in ("broken", "whole"))
    assert [row["step"] for row in broken] == ["0", "2"]
    assert broken == whole


def test_scorers_are_told_apart_by_their_options() -> None:
    names = ["niqe?border=4", "niqe?border=0", "niqe?border=4&luma=gray"]
    listed = {_listed([(replace(GoneOnce.info, name=name), 0.1)]) for name in names}
    assert len(listed) == 3
    moved = [replace(GoneOnce.info, name=name, parameters_hash="ab") for name in ("a", "b")]
    assert _listed([(moved[0], 0.1)]) == _listed([(moved[1], 0.1)]) == "0.1 x ab"


def test_a_ranker_is_bit_identical_after_the_training(
    gan: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    rankers = [toy_ranker(0), toy_ranker(1, higher_is_better=True)]
    before = [{k: v.clone() for k, v in r.state_dict().items()} for r in rankers]
    train(
        gan(losses={"rank": {"weight": 1.0}}),
        tmp_path,
        rankers=[(rankers[0], 1.0), (rankers[1], 0.5)],
    )
    for ranker, state in zip(rankers, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in ranker.state_dict().items())
        assert all(p.grad is None for p in ranker.parameters())
        assert len(ranker.seen) == 4


def test_the_rank_loss_pulls_the_score_its_way(
    config: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    for higher_is_better in (False, True):
        ranker = toy_ranker(3, higher_is_better)
        train(
            config(
                losses={"pixel": {"weight": 0}, "rank": {"weight": 1.0}},
                optimiser={"generator_lr": 5e-3},
                run={"steps": 30},
            ),
            tmp_path / str(higher_is_better),
            rankers=[(ranker, 1.0)],
        )
        first, last = (ranker.score(ranker.seen[i]).mean() for i in (0, 29))
        assert (last > first) if higher_is_better else (last < first)


@pytest.mark.parametrize(
    "error", [ServiceUnavailable, DeadlineExceeded, Overloaded, Unauthenticated, InternalError]
)
def test_a_ranker_that_goes_away_leaves_a_state_to_continue_from(
    gan: MakeConfig, tmp_path: Path, toy_ranker, error: type[Exception]
) -> None:
    chosen = gan(losses={"rank": {"weight": 0.5}}, run={"steps": 8, "save_every": 100})

    class Leaving(toy_ranker):
        def score(self, images: torch.Tensor, references: object = None) -> torch.Tensor:
            if len(self.seen) == 5:
                raise error("nobody answers at unix:/gone.sock")
            scores: torch.Tensor = super().score(images)
            return scores

    with pytest.raises(error, match=r"gone\.sock; .*saved at step 5 in .*last\.state\.pt"):
        train(chosen, tmp_path / "left", rankers=[(Leaving(), 1.0)])
    assert load_weights(tmp_path / "left" / "generator.safetensors").about["step"] == 5
    train(chosen, tmp_path / "left", rankers=[(toy_ranker(), 1.0)])
    train(chosen, tmp_path / "straight", rankers=[(toy_ranker(), 1.0)])
    assert weights(tmp_path / "left") == weights(tmp_path / "straight")


def test_what_a_configuration_names_is_opened_where_the_training_computes(
    gan: MakeConfig, hr_folder: Path, tmp_path: Path, toy_ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def opening(spec: str, **_: object) -> Scorer:
        opened.append(spec)
        return toy_ranker(len(opened))

    monkeypatch.setattr(local_scorer, "open_scorer", opening)
    chosen = gan(
        losses={
            "rank": {
                "weight": 0.5,
                "rankers": [{"spec": "a.pth"}, {"spec": "b.pth?device=cuda"}],
            },
            "scorers": [{"spec": "c.pth", "weight": 0.1}],
        },
        validation={"hr": str(hr_folder), "scorers": ["d.pth"]},
        run={"steps": 1},
    )
    train(chosen, tmp_path / "run")
    assert sorted(opened) == [
        "a.pth?device=cpu",
        "b.pth?device=cuda",
        "c.pth?device=cpu",
        "d.pth?device=cpu",
    ]


def test_what_fails_before_the_first_step_leaves_no_state(
    gan: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    """Else the configuration that would mend it were another one than that of the state."""

    class Choosy(toy_ranker):
        def score(self, images: torch.Tensor, references: object = None) -> torch.Tensor:
            raise ImageTooSmall("these crops are too small")

    chosen = gan(losses={"rank": {"weight": 0.5}}, run={"steps": 1})
    with pytest.raises(ImageTooSmall, match=r"too small$"):
        train(chosen, tmp_path, rankers=[(Choosy(), 1.0)])
    assert not (tmp_path / STATE_FILE).exists()
    other = gan(losses={"rank": {"weight": 0.25}}, run={"steps": 1})
    assert train(other, tmp_path, rankers=[(toy_ranker(), 1.0)]).step == 1


def test_an_error_says_all_that_it_said_before_the_training_was_saved(
    config: MakeConfig, tmp_path: Path
) -> None:
    def refuse(step: int, values: Mapping[str, float]) -> None:
        raise Overloaded("the queue is full", field="queue", retry_after=3.0)

    with pytest.raises(Overloaded, match=r"the queue is full; .* without --restart con") as caught:
        train(config(), tmp_path, on_step=refuse, resume=False)
    assert (caught.value.field, caught.value.retry_after) == ("queue", 3.0)


def test_an_image_that_cannot_be_read_again_loses_no_step(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    def spoil(step: int, values: Mapping[str, float]) -> None:
        if step == 1:
            for path in hr_folder.iterdir():
                path.write_bytes(b"no longer an image")

    chosen = config(data={"memory_mib": 0, "workers": 1}, run={"steps": 30, "save_every": 100})
    with pytest.raises(InvalidImage, match="saved at step"):
        train(chosen, tmp_path / "run", on_step=spoil)
    assert load_state(tmp_path / "run" / STATE_FILE)["step"] >= 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_step_with_everything_saved(
    gan: MakeConfig, tmp_path: Path, number: signal.Signals
) -> None:
    stopped: list[dict[str, float]] = []
    straight: list[dict[str, float]] = []

    def send(step: int, values: Mapping[str, float]) -> None:
        go_on(step, values)
        if step == 3:
            os.kill(os.getpid(), number)

    def go_on(step: int, values: Mapping[str, float]) -> None:
        stopped.append(dict(values))

    def follow(step: int, values: Mapping[str, float]) -> None:
        straight.append(dict(values))

    before = signal.getsignal(number)
    result = train(gan(run={"steps": 6}), tmp_path / "run", on_step=send)
    assert (result.step, result.finished) == (3, False)
    assert signal.getsignal(number) == before
    assert train(gan(run={"steps": 6}), tmp_path / "run", on_step=go_on).finished
    train(gan(run={"steps": 6}), tmp_path / "straight", on_step=follow)
    assert stopped == straight  # tells at which step they part, if they do
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


def test_a_folder_may_be_named(config: MakeConfig, tmp_path: Path) -> None:
    result = train(config(run={"steps": 1}), str(tmp_path / "named"))
    assert result.generator == tmp_path / "named" / "generator.safetensors"
    assert train(config(run={"steps": 2}), tmp_path / "named").step == 2
    assert load_weights(result.generator).about["step"] == 2


class StoppedAt:
    """A scorer during whose ``call``th work a signal arrives, or something goes wrong."""

    info = ScorerInfo("watched", "1", False, False, False, 8)

    def __init__(self, call: int = -1, error: Exception | None = None) -> None:
        self.calls = 0
        self._call, self._error = call, error

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        if self.calls == self._call:
            if self._error is not None:
                raise self._error
            os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(len(images), dtype=torch.float64)


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_signal_stops_in_a_validation_that_is_made_up_for(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, step: int
) -> None:
    chosen = config(validation={"hr": str(hr_folder), "every": 2})
    stopped = StoppedAt(4 * (step // 2) + 2)  # in the second of four images
    result = train(chosen, tmp_path / "run", validation_scorers={"watched": stopped})
    assert stopped.calls == 4 * (step // 2) + 2
    assert (result.step, result.finished) == (step, False)
    state = load_state(tmp_path / "run" / STATE_FILE)
    assert (state["step"], state["validated"]) == (step, step - 2 if step else -1)

    for name in ("run", "whole"):
        assert train(chosen, tmp_path / name, validation_scorers={"watched": StoppedAt()}).finished
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    found, wanted = (rows(tmp_path / name / "validation.csv") for name in ("run", "whole"))
    assert [row["step"] for row in found] == ["0", "2", "4"]
    assert found == wanted
    for name in (BEST_FILE, "generator.safetensors"):
        files = [load_weights(tmp_path / run / name) for run in ("run", "whole")]
        assert files[0].about == files[1].about
    # Nothing is left to do, the validation included.
    again = StoppedAt()
    assert train(chosen, tmp_path / "run", validation_scorers={"watched": again}).finished
    assert again.calls == 0


def test_a_due_save_does_not_wait_for_the_validation(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    chosen = config(validation={"hr": str(hr_folder), "every": 2}, run={"save_every": 2})
    killed = StoppedAt(6, KeyError("as if the process had been killed"))
    with pytest.raises(KeyError):
        train(chosen, tmp_path, validation_scorers={"watched": killed})
    state = load_state(tmp_path / STATE_FILE)
    assert (state["step"], state["validated"]) == (2, 0)

    def kill(step: int, values: Mapping[str, float]) -> None:
        raise KeyError("between the validation and what is saved after it")

    seen = {"watched": StoppedAt()}
    with pytest.raises(KeyError):
        train(chosen, tmp_path, validation_scorers=seen, on_step=kill)
    train(chosen, tmp_path, validation_scorers=seen)
    found = rows(tmp_path / "validation.csv")
    assert [row["step"] for row in found] == ["0", "2", "4"]


def test_a_training_runs_outside_of_the_main_thread(config: MakeConfig, tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(config(), tmp_path))
    thread.start()
    thread.join()
    assert weights(tmp_path)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(
    config: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    class Failing(toy_ranker):
        def score(self, images: torch.Tensor, references: object = None) -> torch.Tensor:
            scores: torch.Tensor = super().score(images)
            return scores * float("nan") if len(self.seen) == 4 else scores

    losses = {"pixel": {"weight": 1.0}, "rank": {"weight": 1.0}}
    chosen = config(losses=losses, run={"steps": 9, "save_every": 2})
    with pytest.raises(TrainingDiverged, match=r"step 4: rank is nan.*diverged-step-4\.pt"):
        train(chosen, tmp_path, rankers=[(Failing(), 1.0)])
    assert load_weights(tmp_path / "generator.safetensors").about["step"] == 2
    kept = torch.load(tmp_path / "diverged-step-4.pt", weights_only=True)
    batch = open_crops(chosen).batch(4)
    assert torch.equal(kept["lr"], batch.lr)
    assert torch.equal(kept["hr"], batch.hr)
    assert kept["step"] == 4
    assert np.isfinite(kept["losses"]["pixel"])
    assert np.isnan(kept["losses"]["rank"])
    assert "rank is nan" in kept["message"]


def test_what_has_diverged_goes_on_as_its_message_says(gan: MakeConfig, tmp_path: Path) -> None:
    """A state is of the learning rates that it was made with; its weights begin another."""
    bursting = {"schedule": {"kind": "multistep", "milestones": [3], "factor": 1e30}}
    run = {"steps": 4, "save_every": 1, "precision": "bfloat16"}
    folder = tmp_path / "run"
    with pytest.raises(TrainingDiverged) as told:
        train(gan(optimiser=bursting, run=run), folder)
    assert (
        f"{folder} keeps step 2: go on in another folder (at a service under another name), with "
        "its generator.safetensors as generator.weights, its discriminator.safetensors as "
        "discriminator.weights (there with its name) and a lower "
        "optimiser.generator_lr and optimiser.discriminator_lr or run.precision=float32"
    ) in str(told.value)
    weights = folder / "generator.safetensors"
    with pytest.raises(InvalidConfig, match=r"as generator\.weights .* --restart"):
        train(gan(run=run), folder)
    discriminator = {"width": 4, "weights": str(folder / "discriminator.safetensors")}
    goes_on = gan(generator={"weights": str(weights)}, discriminator=discriminator, run=run)
    assert train(goes_on, tmp_path / "other").finished


def test_a_generator_that_breaks_down_leaves_its_batch(config: MakeConfig, tmp_path: Path) -> None:
    """Here it is the pixels that are not finite: no loss is computed from them."""

    broken = tmp_path / "broken.safetensors"
    train(config(run={"steps": 1}), tmp_path / "start")
    weights_before = load_weights(tmp_path / "start" / "generator.safetensors")
    huge = {key: value * 1e30 for key, value in weights_before.tensors.items()}
    save_weights(
        broken,
        huge,
        kind="generator",
        architecture=str(weights_before.architecture),
        options=weights_before.options,
    )
    chosen = config(generator={"weights": str(broken)})
    with pytest.raises(
        TrainingDiverged, match=r"step 1: the generator makes pixels .*step-1\.pt"
    ) as told:
        train(chosen, tmp_path / "run")
    assert f"No state was saved yet: {tmp_path / 'run'} takes a lower optimiser.gen" in str(
        told.value
    )
    other = config(run={"steps": 1}, optimiser={"generator_lr": 1e-6})
    assert train(other, tmp_path / "run").finished
    kept = torch.load(tmp_path / "run" / "diverged-step-1.pt", weights_only=True)
    assert kept["losses"] == {}
    assert torch.equal(kept["hr"], open_crops(chosen).batch(1).hr)


def test_gradients_that_overflow_are_noticed_before_anything_is_saved(
    config: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    class Overflowing(toy_ranker):
        def score(self, images: torch.Tensor, references: object = None) -> torch.Tensor:
            scores: torch.Tensor = super().score(images)
            if len(self.seen) == 2:  # a finite value with a gradient that is not
                scores = scores + (images - images.detach()).abs().sqrt().sum()
            return scores

    chosen = config(losses={"rank": {"weight": 1.0}}, run={"steps": 2, "save_every": 1})
    with pytest.raises(
        TrainingDiverged, match=r"step 2: the generator's gradient is nan\. .* step 1"
    ):
        train(chosen, tmp_path, rankers=[(Overflowing(), 1.0)])
    assert load_weights(tmp_path / "generator.safetensors").about["step"] == 1


@pytest.mark.parametrize("every", [1, 100])
def test_weights_that_make_no_picture_are_not_saved(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, every: int
) -> None:
    """They are finite: a validation finds out, or the save itself where none is due."""
    schedule = {"kind": "multistep", "milestones": [3], "factor": 1e30}
    chosen = config(
        run={"steps": 4, "save_every": 1},
        optimiser={"schedule": schedule},
        validation={"hr": str(hr_folder), "every": every},
    )
    with pytest.raises(TrainingDiverged, match=r"step 3: .*diverged-step-3\.pt"):
        train(chosen, tmp_path)
    assert load_state(tmp_path / STATE_FILE)["step"] == 2
    assert load_weights(tmp_path / "generator.safetensors").about["step"] == 2
    kept = torch.load(tmp_path / "diverged-step-3.pt", weights_only=True)
    assert torch.equal(kept["hr"], open_crops(chosen).batch(3).hr)


def test_a_validation_finds_that_the_generator_makes_no_picture(
    config: MakeConfig, hr_folder: Path, tmp_path: Path
) -> None:
    """Here no save is due before it."""
    chosen = config(
        run={"steps": 6, "save_every": 2},
        optimiser={"schedule": {"kind": "multistep", "milestones": [3], "factor": 1e30}},
        validation={"hr": str(hr_folder), "every": 3},
    )
    with pytest.raises(TrainingDiverged, match=r"step 3: .*makes NaN or .*diverged-step-3\.pt"):
        train(chosen, tmp_path)
    assert load_state(tmp_path / STATE_FILE)["step"] == 2


def test_two_trainings_do_not_share_a_folder(config: MakeConfig, tmp_path: Path) -> None:
    def again(step: int, values: Mapping[str, float]) -> None:
        with pytest.raises(InvalidInput, match="another training is at work in"):
            train(config(), tmp_path)

    leftover = tmp_path / ".last.state-0123abcd.pt"
    leftover.touch()
    assert train(config(run={"steps": 1}), tmp_path, on_step=again).finished
    assert not leftover.exists()


class Halves:
    name = "halves"

    def extract(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"half": torch.nn.functional.avg_pool2d(images, 2)}


def test_perceptual_features_come_from_anything_or_are_left_out_openly(
    gan: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    losses = {"perceptual": {"weight": 1.0}}
    with pytest.raises(InvalidConfig, match=r"losses\.perceptual\.network is null"):
        train(gan(losses=losses), tmp_path / "none")
    seen: dict[str, float] = {}
    train(
        gan(losses=losses),
        tmp_path / "with",
        feature_network=Halves(),
        on_step=lambda _, values: seen.update(values),
    )
    assert seen["perceptual"] > 0
    both = gan(losses={"perceptual": {"weight": 1.0, "network": "vgg19"}})
    with pytest.raises(
        InvalidConfig, match=r"network names vgg19, .* network, halves: set"
    ) as caught:
        train(both, tmp_path / "both", feature_network=Halves())
    assert caught.value.field == "losses.perceptual.network"
    assert not (tmp_path / "both" / "config.yaml").exists()
    with caplog.at_level("INFO"):
        train(gan(), tmp_path / "without")
    assert sum("no perceptual term" in record.message for record in caplog.records) == 1


def test_a_rank_loss_that_is_flat_is_told_once(
    gan: MakeConfig, tmp_path: Path, toy_ranker, caplog: pytest.LogCaptureFixture
) -> None:
    for bias, told in ((-50.0, 1), (0.0, 0)):
        caplog.clear()
        losses = {"rank": {"weight": 0.1, "bias": bias}}
        settings = gan(losses=losses, run={"steps": 2, "log_every": 1})
        train(settings, tmp_path / f"{told}", rankers=[(toy_ranker(1), 1.0)])
        assert caplog.text.count("losses.rank: the sigmoid is 1.000") == told


def test_what_is_missing_is_named(config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"data\.hr names no folder"):
        train(config(data={"hr": None}), tmp_path)
    with pytest.raises(InvalidConfig, match="at least one Ranker"):
        train(config(losses={"rank": {"weight": 1.0}}), tmp_path)
    with pytest.raises(InvalidConfig, match="niqe cannot be a rank loss: it has no gradient"):
        train(config(losses={"rank": {"weight": 1.0, "rankers": [{"spec": "niqe"}]}}), tmp_path)
    with pytest.raises(InvalidConfig, match="'tpuX' is no device"):
        train(config(run={"device": "tpuX"}), tmp_path)


def test_bfloat16_trains_and_resumes_to_the_bit(gan: MakeConfig, tmp_path: Path) -> None:
    half = {"precision": "bfloat16"}
    train(gan(run={**half, "steps": 6}), tmp_path / "straight")
    train(gan(run={**half, "steps": 3}), tmp_path / "resumed")
    train(gan(run={**half, "steps": 6}), tmp_path / "resumed")
    train(gan(run={"steps": 6}), tmp_path / "float32")
    assert weights(tmp_path / "straight") == weights(tmp_path / "resumed")
    assert weights(tmp_path / "straight") != weights(tmp_path / "float32")
    for value in load_weights(tmp_path / "straight" / "generator.safetensors").tensors.values():
        assert value.dtype == torch.float32


@pytest.mark.cuda
def test_training_on_a_gpu(gan: MakeConfig, hr_folder: Path, tmp_path: Path) -> None:
    chosen = gan(
        run={"device": "cuda", "precision": "auto", "steps": 20},
        validation={"hr": str(hr_folder), "every": 10},
    )
    result = train(chosen, tmp_path)
    assert result.finished
    assert result.scores["psnr"] is not None


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on there is no room for files of that name."""
    sync = os.fsync

    def fsync(handle: int) -> None:
        if name in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("file", [".last.state-", ".generator-", ".discriminator-"])
def test_a_full_disk_leaves_the_last_good_state(
    gan: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    chosen = gan(run={"steps": 6, "save_every": 2})
    train(chosen, tmp_path / "straight")
    with monkeypatch.context() as patch:

        def fill(step: int, values: Mapping[str, float]) -> None:
            if step == 4:
                full_disk(patch, file)

        with pytest.raises(DiskFull, match=r"step 4: .*No space left.*of step 2 is kept") as caught:
            train(chosen, tmp_path / "run", on_step=fill)
    assert caught.value.field is not None
    assert load_state(tmp_path / "run" / STATE_FILE)["step"] == 2
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    assert train(chosen, tmp_path / "run").finished
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


def test_a_disk_that_is_full_from_the_start(
    config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, ".last.state-")
    with pytest.raises(DiskFull, match="there is no state yet"):
        train(config(), tmp_path / "run")
    assert not (tmp_path / "run" / STATE_FILE).exists()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_accumulated_parts_are_the_joint_batch(
    config: MakeConfig, tmp_path: Path, toy_ranker, ema: float
) -> None:
    """Without a discriminator nothing normalises over a batch."""
    rank = {"pixel": {"weight": 1.0}, "rank": {"weight": 0.5, "reduction": "sum"}}
    results = {}
    for parts in (1, 2, 4):
        losses: list[dict[str, float]] = []
        result = train(
            config(
                data={"batch": 4, "crop": 32},
                losses=rank,
                optimiser={"accumulate": parts, "generator_lr": 1e-3, "ema": ema},
                run={"steps": 6},
            ),
            tmp_path / str(parts),
            rankers=[(toy_ranker(), 1.0)],
            on_step=lambda _, values, losses=losses: losses.append(dict(values)),
        )
        results[parts] = (load_weights(result.generator).tensors, losses)
    for parts in (2, 4):
        for key, value in results[1][0].items():
            torch.testing.assert_close(results[parts][0][key], value, rtol=1e-3, atol=1e-5)
        for found, expected in zip(results[parts][1], results[1][1], strict=True):
            assert found == pytest.approx(expected, rel=1e-4)


def test_accumulation_resumes_to_the_bit(gan: MakeConfig, tmp_path: Path) -> None:
    changes = {
        "data": {"batch": 4},
        "optimiser": {"accumulate": 2, "ema": 0.9, "warmup": 4},
        "losses": {"adversarial": {"weight": 0.01, "criterion": "relativistic"}},
    }
    train(gan(run={"steps": 6}, **changes), tmp_path / "straight")
    train(gan(run={"steps": 3}, **changes), tmp_path / "resumed")
    train(gan(run={"steps": 6}, **changes), tmp_path / "resumed")
    assert weights(tmp_path / "straight") == weights(tmp_path / "resumed")


def test_a_ranker_that_goes_away_between_two_parts_has_changed_nothing(
    gan: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    """The discriminator has seen the first part by then: its statistics are put back."""

    class Leaving(toy_ranker):
        def score(self, images: torch.Tensor, references: object = None) -> torch.Tensor:
            if len(self.seen) == 5:  # of step 3 the second part
                raise ServiceUnavailable("nobody answers at unix:/gone.sock")
            scores: torch.Tensor = super().score(images)
            return scores

    chosen = gan(losses={"rank": {"weight": 0.5}}, optimiser={"accumulate": 2}, run={"steps": 4})
    with pytest.raises(ServiceUnavailable, match="saved at step 2"):
        train(chosen, tmp_path / "left", rankers=[(Leaving(), 1.0)])
    train(chosen, tmp_path / "left", rankers=[(toy_ranker(), 1.0)])
    train(chosen, tmp_path / "straight", rankers=[(toy_ranker(), 1.0)])
    assert weights(tmp_path / "left") == weights(tmp_path / "straight")


def test_parts_that_do_not_divide_the_batch(config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=r"data\.batch is 2; optimiser\.accumulate=3 cannot"):
        config(optimiser={"accumulate": 3})


def test_a_state_from_before_a_key_existed_is_continued(config: MakeConfig, tmp_path: Path) -> None:
    train(config(run={"steps": 2}), tmp_path)
    state = load_state(tmp_path / STATE_FILE)
    for section, key in (("run", "compile"), ("optimiser", "warmup"), ("validation", "drift")):
        del state["config"][section][key]
    for key in ("recent", "alarms"):
        del state[key]
    save_state(tmp_path / STATE_FILE, state)
    assert train(config(run={"steps": 3}), tmp_path).step == 3
    with pytest.raises(InvalidConfig, match=r"optimiser\.warmup: 0 then, 5 now"):
        train(config(optimiser={"warmup": 5}), tmp_path)


def test_the_best_by_a_weighted_rule(
    config: MakeConfig, hr_folder: Path, tmp_path: Path, toy_ranker
) -> None:
    """-2 PSNR + 3 ranker, said with positive weights since each metric knows its direction."""
    result = train(
        config(
            validation={"hr": str(hr_folder), "every": 1, "best": {"ranker": 3, "psnr": 2}},
            optimiser={"generator_lr": 2e-2},
            run={"steps": 6},
        ),
        tmp_path,
        rankers=[(toy_ranker(0), 1.0)],
    )
    assert result.best is not None
    found = {
        int(row["step"]): 3 * float(row["ranker"]) - 2 * float(row["psnr"])
        for row in rows(tmp_path / "validation.csv")
        if row["step"] != "0"
    }
    assert load_weights(result.best).about["step"] == min(found, key=lambda step: found[step])


class Clock:
    """A scorer that says a number more each time that it is asked for another generator's work."""

    def __init__(self, name: str, values: list[float], higher_is_better: bool) -> None:
        self.info = ScorerInfo(name, "1", higher_is_better, True, False, 8)
        self._values = [value for value in values for _ in range(4)]  # there are four images

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full((len(images),), self._values.pop(0), dtype=torch.float64)


@pytest.mark.parametrize("stop", [False, True])
def test_drift_is_told_and_stops_if_wanted(
    config: MakeConfig,
    hr_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    stop: bool,
) -> None:
    falling, rising = [9.0, 8, 7, 6, 5, 4, 3], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    drift = {"optimised": ["eager"], "held_out": ["wary"], "over": 4, "stop": stop}
    result = train(
        config(validation={"hr": str(hr_folder), "every": 1, "drift": drift}, run={"steps": 6}),
        tmp_path,
        validation_scorers={
            "eager": Clock("eager", falling, False),
            "wary": Clock("wary", rising, False),
        },
    )
    assert (result.step, result.finished) == ((3, False) if stop else (6, True))
    message = "from step 0 to 3 eager (9 to 6) improved and wary (0.1 to 0.4) got worse"
    assert len(result.alarms) == 1  # steps 4 to 6 are three validations, too few for another
    assert message in result.alarms[0]
    assert message in caplog.text
    column = [float(row["drift"]) for row in rows(tmp_path / "validation.csv")]
    assert column == ([0, 0, 0, 1] if stop else [0, 0, 0, 1, 0, 0, 0])
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["drift"] == [{"step": 3, "message": result.alarms[0]}]
    assert load_state(tmp_path / STATE_FILE)["alarms"] == record["drift"]
    if stop:
        return
    # A run that goes on keeps the record.
    train(
        config(validation={"hr": str(hr_folder), "every": 1, "drift": drift}, run={"steps": 6}),
        tmp_path,
        validation_scorers={"eager": Clock("eager", [], False), "wary": Clock("wary", [], False)},
    )
    assert json.loads((tmp_path / "run.json").read_text())["drift"] == record["drift"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it itself
def test_compiled_networks_train_the_same(
    gan: MakeConfig, random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured and differentiated as for a GPU; only the generation of code is left out."""
    capture = torch.nn.Module.compile
    compiled_by_name: list[str] = []

    def quick(self: torch.nn.Module, **options: bool) -> None:
        compiled_by_name.append(type(self).__name__)
        capture(self, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", quick)
    alexnet = str(random_weights / get_asset("alexnet").file)
    results = {}
    for compiled in (False, True):
        losses: list[dict[str, float]] = []
        result = train(
            gan(
                run={"steps": 3, "compile": compiled},
                optimiser={"ema": 0.5},
                losses={"perceptual": {"weight": 0.1, "network": alexnet}},
            ),
            tmp_path / str(compiled),
            on_step=lambda _, values, losses=losses: losses.append(dict(values)),
        )
        results[compiled] = (load_weights(result.generator).tensors, losses)
    for key, value in results[False][0].items():
        torch.testing.assert_close(results[True][0][key], value, rtol=1e-2, atol=2e-4)
    for found, expected in zip(results[True][1], results[False][1], strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert compiled_by_name == ["SRResNet", "VGGDiscriminator", "AlexNetFeatures"]


@pytest.mark.parametrize("mode", ["float64", "inference"])
def test_a_training_is_the_same_in_any_mode_of_the_callers(
    gan: MakeConfig, tmp_path: Path, mode: str
) -> None:
    expected = train(gan(run={"steps": 2}), tmp_path / "expected")
    before = torch.get_rng_state()
    if mode == "float64":
        torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(mode == "inference"):
            found = train(gan(run={"steps": 2}), tmp_path / "found")
            assert torch.get_default_dtype() == getattr(torch, mode, torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    ours, theirs = (load_weights(result.generator).tensors for result in (found, expected))
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key
