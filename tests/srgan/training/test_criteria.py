"""Criteria on views of one image, and their contrast, in a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.processes import Processes
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import open_crops
from ranksrgan.srgan.generators.architectures import save_generator
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.training.objective import Objective
from ranksrgan.srgan.training.state import Training
from ranksrgan.srgan.training.step import Step

MakeConfig = Callable[..., TrainConfig]
FORMS = {
    "edl": {},
    "ratio": {"ratio": 1e-3},
    "align_negative": {"alignment": 0.01, "negative": 1e-3},
    "align_uniform": {"alignment": 0.01, "uniformity": 1e-3},
}


class Blurred(torch.nn.Module):
    """Features that need no weights."""

    name = "blurred"
    recordable = True

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        return {"blurred": torch.nn.functional.avg_pool2d(images, 4)}


@pytest.fixture
def cria(config: MakeConfig) -> MakeConfig:
    """A small Cria-CL; ``contrast`` is a form of `FORMS` or what it is made of."""

    def make(contrast: str | dict[str, float] = "edl", **sections: Any) -> TrainConfig:
        losses = {
            "pixel": {"weight": 0.1, "view": "second"},
            "perceptual": {"weight": 1.0},
            "adversarial": {"weight": 0.05, "criterion": "relativistic", "view": "first"},
            "contrast": FORMS[contrast] if isinstance(contrast, str) else contrast,
        }
        for name, changed in sections.pop("losses", {}).items():
            losses[name] = {**losses[name], **changed}
        generator = {
            "architecture": "two_view_rrdbnet",
            "features": 4,
            "blocks": 1,
            "growth": 2,
            **sections.pop("generator", {}),
        }
        data = {"crop": 32, **sections.pop("data", {})}
        discriminator = {"architecture": "patch", "width": 4}
        return config(
            generator=generator, discriminator=discriminator, data=data, losses=losses, **sections
        )

    return make


def run(chosen: TrainConfig, folder: Path) -> tuple[list[dict[str, float]], str]:
    """The losses of each step, and a hash of the weights that are left."""
    seen: list[dict[str, float]] = []
    train(
        chosen, folder, feature_network=Blurred(), on_step=lambda _, values: seen.append({**values})
    )
    return seen, load_weights(folder / "generator.safetensors").sha256


@pytest.mark.parametrize("form", FORMS)
def test_a_step_by_hand(form: str, cria: MakeConfig, tmp_path: Path) -> None:
    """Every loss of the first step, from its definition."""
    chosen = cria(form, run={"steps": 1})
    start = Training.start(chosen, torch.device("cpu"))
    assert start.discriminator is not None
    batch = open_crops(chosen).batch(1)
    lr, hr = batch.lr / 255, batch.hr / 255
    fused, first, second = start.generator(lr)
    real = start.discriminator(hr).detach()

    def gan(picture: Tensor) -> Tensor:
        fake = start.discriminator(picture)
        soft = torch.nn.functional.softplus
        return (soft(real.mean() - fake).mean() + soft(real - fake.mean()).mean()) / 2

    pixel = [(view - hr).abs().mean().item() for view in (fused, first, second)]
    blurred = Blurred().extract
    perceptual = (blurred(fused)["blurred"] - blurred(hr)["blurred"]).abs().mean().item()
    judged = [gan(view).item() for view in (fused, first, second)]
    wanted = {"pixel": pixel[2], "perceptual": perceptual, "adversarial": judged[1]}
    total = 0.1 * pixel[2] + perceptual + 0.05 * judged[1]
    weighed = Tensor([0.01]) * Tensor(pixel), perceptual, Tensor([5e-3]) * Tensor(judged)
    (p, p1, p2), f, (g, g1, g2) = weighed
    align = (p2 - f) ** 2
    terms = {
        "edl": {},
        "ratio": {"contrast.ratio": (g + f) / (p1 + 1e-3)},
        "align_negative": {
            "contrast.alignment": align,
            "contrast.negative": torch.log(((-2 * p2).exp() + (-2 * g1).exp()) / 2),
        },
        "align_uniform": {
            "contrast.alignment": align,
            "contrast.uniformity": -sum((-2 * (p + n) ** 2).exp() for n in (g, g1, g2)).log()
            if form == "align_uniform"
            else None,
        },
    }[form]
    weights = chosen.losses.contrast.model_dump()
    for name, value in terms.items():
        wanted[name] = float(value)
        total += weights[name.removeprefix("contrast.")] * float(value)
    wanted["generator"] = total

    (seen,), _ = run(chosen, tmp_path)
    for name, value in wanted.items():
        assert seen[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    further = {
        "edl": set(),
        "ratio": {"pixel.first", "adversarial.fused"},
        "align_negative": set(),
        "align_uniform": {"pixel.fused", "adversarial.fused", "adversarial.second"},
    }[form]
    assert set(seen) == set(wanted) | further | {"discriminator"}
    views = dict(zip(("fused", "first", "second"), zip(pixel, judged, strict=True), strict=True))
    for name in further:
        kind, _, view = name.partition(".")
        assert seen[name] == pytest.approx(views[view][kind == "adversarial"], rel=1e-4)
    columns = set(read_curve(tmp_path / "curves.csv")[0])
    assert columns == set(seen) | {"step", "generator_lr", "seconds"}


def test_the_discriminator_learns_from_the_fused_picture(cria: MakeConfig) -> None:
    chosen = cria()
    training = Training.start(chosen, torch.device("cpu"))
    assert training.discriminator is not None
    shown: list[Tensor] = []
    training.discriminator.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    made: list[Tensor] = []
    training.generator.register_forward_hook(lambda _, given, views: made.extend(views))
    objective = Objective(chosen, [], Blurred())
    step = Step(training, objective, Processes(0, 1, torch.device("cpu")), bfloat16=False)
    batch = open_crops(chosen).batch(1)
    step(batch)
    fused, first, _ = made
    # Originals, what the generator pays for, and what the discriminator learns from.
    assert len(shown) == 3
    for found, expected in zip(shown, (batch.hr / 255, first, fused), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("form", ["ratio", "align_negative", "align_uniform"])
def test_a_batch_in_parts_and_bfloat16(form: str, cria: MakeConfig, tmp_path: Path) -> None:
    """Each part has a contrast of its own."""
    chosen = cria(
        form,
        data={"batch": 4},
        optimiser={"accumulate": 2},
        run={"steps": 2, "precision": "bfloat16"},
    )
    seen, _ = run(chosen, tmp_path)
    assert len(seen) == 2
    assert all(torch.tensor(list(values.values())).isfinite().all() for values in seen)


@pytest.mark.cuda
@pytest.mark.parametrize("form", FORMS)
def test_recorded_steps_are_the_steps_to_the_bit(
    form: str, cria: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    on_a_gpu = {"device": "cuda", "precision": "bfloat16", "steps": 6}
    found = [
        run(cria(form, run={**on_a_gpu, "graph": graph}), tmp_path / str(graph))
        for graph in (True, False)
    ]
    assert found[0] == found[1]


def test_several_processes_compare_the_means_of_the_joint_batch(cria: MakeConfig) -> None:
    """A contrast is no mean over images: the mean of two processes' would be another number."""
    objective = Objective(cria("align_negative"), [], Blurred())
    halves = [(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)) for _ in range(2)]
    own, other = (objective.before_discriminator(sr, hr, False, 0) for sr, hr in halves)
    both = [torch.cat(parts) for parts in zip(*halves, strict=True)]
    whole = objective.before_discriminator(*both, False, 0)
    judged = {"first": torch.tensor(0.6)}  # of the joint batch already

    def joint(loss: Tensor) -> Tensor:
        name = next(key for key, value in own.items() if torch.equal(value.reshape(1), loss))
        return torch.cat([loss, other[name].reshape(1)])

    found = objective.after_discriminator(own, judged, joint)
    expected = objective.after_discriminator(whole, judged, lambda loss: loss)
    alone = objective.after_discriminator(own, judged, lambda loss: loss)
    for name in ("contrast.alignment", "contrast.negative"):
        torch.testing.assert_close(found[name], expected[name])
        assert (found[name] - alone[name]).abs() > 1e-6


def test_a_trunk_to_start_from(cria: MakeConfig, tmp_path: Path) -> None:
    trained = RRDBNet(4, 1, 2)
    save_generator(tmp_path / "psnr.safetensors", trained, {})
    chosen = cria(generator={"trunk_weights": str(tmp_path / "psnr.safetensors")})
    state = Training.start(chosen, torch.device("cpu")).generator.state_dict()
    assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())
    # The projector is what the seed makes of it, whatever the trunk.
    fresh = Training.start(cria(), torch.device("cpu")).generator.state_dict()
    assert all(torch.equal(state[k], fresh[k]) for k in state if k not in trained.state_dict())


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"generator": {"architecture": "rrdbnet"}},
            r"losses\.pixel\.view is second; rrdbnet has one view",
        ),
        ({"generator": {"scale": 2}}, "scale is 2; that of a two_view_rrdbnet is 4 or 1"),
        (
            {"generator": {"trunk_weights": "a.pth", "weights": "b.pth"}},
            "trunk_weights are an RRDBNet's",
        ),
        (
            {"contrast": "ratio", "losses": {"adversarial": {"criterion": "hinge"}}},
            "hinge loss has no least value",
        ),
        (
            {"contrast": "ratio", "losses": {"perceptual": {"weight": 0.0}}},
            r"losses\.perceptual\.weight is 0",
        ),
        ({"contrast": {"ratio": 1e-3, "temperature": 0.5}}, "temperature"),
        ({"contrast": {"uniformity": 1e-3, "temperature": 200.0}}, "temperature\n.* equal to 16"),
        ({"contrast": {"ratio": 1e-3, "epsilon": 0.0}}, "epsilon"),
        ({"contrast": {"triplet": 1e-3}}, "triplet"),
    ],
)
def test_impossible_combinations(sections: dict[str, object], said: str, cria: MakeConfig) -> None:
    with pytest.raises(ValueError, match=said):
        cria(**sections)


def test_a_contrast_wants_views(config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=r"losses\.contrast compares criteria on different views"):
        config(losses={"pixel": {"weight": 1.0}, "contrast": {"alignment": 0.01}})
    with pytest.raises(ValueError, match="of others 2, 3 or 4"):
        config(generator={"scale": 1})
