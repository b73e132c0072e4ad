from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UnknownName
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.models import MODELS, load_model, make_model

#: Every model of this folder, as small as it gets.
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("wresnet", {"width": 2, "patches": 2}),
    ("radn", {"width": 2, "patches": 2}),
    ("sensitivity", {"width": 2}),
    *(
        ("macs", {"form": form, "width": 8, "grid": 4})
        for form in ("plain", "norm", "attention", "tiled")
    ),
]


def pairs(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    references = torch.rand(count, 3, height, width)
    noise = torch.randn(references.shape)
    return (references + 0.1 * noise).clamp(0, 1), references


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("wresnet", {}, 14_889_410),
        ("radn", {}, 21_881_812),
        ("macs", {"form": "plain"}, 839_039),
        ("macs", {"form": "norm"}, 1_504_351),
        ("macs", {"form": "attention"}, 528_367),
        ("macs", {"form": "tiled"}, 373_902),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name: str, options: dict[str, Any], parameters: int
) -> None:
    with torch.device("meta"):
        model = make_model(name, options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_every_model_scores_each_pair_on_its_own_with_a_gradient(
    name: str, options: dict[str, Any]
) -> None:
    model = make_model(name, options).eval()
    images, references = pairs(2, 71, 66)
    images.requires_grad_()
    scores = model(images, references)
    assert scores.shape == (2,)
    alone = torch.cat([model(images[i : i + 1], references[i : i + 1]) for i in range(2)])
    assert torch.allclose(scores, alone, atol=1e-5)
    (gradient,) = torch.autograd.grad(scores[0], images)
    assert float(gradient[0].abs().max()) > 0
    assert float(gradient[1].abs().max()) == 0


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_every_model_learns_in_one_step(name: str, options: dict[str, Any]) -> None:
    model = make_model(name, options)
    learnt = model.learn(*pairs(3, 64, 64), torch.zeros(3, dtype=torch.int64))
    loss = learnt.scores.square().sum() + (learnt.cost if learnt.cost is not None else 0)
    loss.backward()
    moved = [p for p in model.parameters() if p.grad is not None and bool(p.grad.any())]
    assert len(moved) > len(list(model.parameters())) / 2


@pytest.mark.parametrize(("name", "options"), SMALL[:4])
def test_a_file_says_which_model_it_holds(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    model = make_model(name, options).eval()
    path = tmp_path / "model.safetensors"
    save_weights(path, model.state_dict(), kind="ranker", architecture=name, options=model.options)
    again = load_model(load_weights(path)).eval()
    images, references = pairs(1, 64, 64)
    assert torch.equal(again(images, references), model(images, references))


def test_a_file_with_other_options_than_its_tensors_is_refused(tmp_path: Path) -> None:
    model = make_model("sensitivity", {"width": 2})
    for options in ({"width": 3}, {"width": 10**9}, {"breadth": 2}, {"width": -1}, {"width": "2"}):
        path = tmp_path / "model.safetensors"
        save_weights(
            path, model.state_dict(), kind="ranker", architecture="sensitivity", options=options
        )
        with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors"):
            load_model(load_weights(path))


def test_names_and_options_that_are_not_there() -> None:
    with pytest.raises(UnknownName, match="sensitivity, wresnet"):
        make_model("vgg12", {})
    with pytest.raises(InvalidInput, match="no option depth; it takes width, patches"):
        make_model("wresnet", {"depth": 3})
    with pytest.raises(InvalidInput, match="something like 64"):
        make_model("wresnet", {"width": 2.5})
    for name, options in (
        ("wresnet", {"width": 0}),
        ("wresnet", {"patches": 0}),
        ("radn", {"dropout": 1.0}),
        ("sensitivity", {"width": 0}),
        ("macs", {"form": "round"}),
        ("macs", {"width": 12}),
        ("macs", {"grid": 6}),
        ("iqt", {"dropout": 1.5, "backbone": "plain"}),
        ("yahaha", {"dropout": -1.0, "backbone": "plain"}),
        ("iqt", {"layers": 10**7, "backbone": "plain"}),
        ("yahaha", {"layers": 65, "backbone": "plain"}),
    ):
        with pytest.raises(InvalidInput, match="wanted") as caught:
            make_model(name, options)
        assert caught.value.field in options
    with pytest.raises(InvalidInput, match="no backbone"):
        make_model("sensitivity", {"width": 2}).load_backbone(Path("alexnet.pth"))


def test_every_model_is_known_by_its_architecture() -> None:
    for name, model in MODELS.items():
        assert issubclass(model, QualityModel)
        assert model.architecture == name
