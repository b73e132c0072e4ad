from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.objective import relative_distance
from ranksrgan.ranker.quality.yahaha import Yahaha
from tests.ranker.quality.distorted import agreement, distorted, teach

SMALL = {
    "backbone": "plain",
    "backbone_width": 8,
    "grid": 4,
    "width": 32,
    "layers": 1,
    "heads": 2,
    "kinds": 5,
    "dropout": 0.0,
}


def test_yahaha_builds_scores_and_learns_the_fixture() -> None:
    torch.manual_seed(0)
    model = Yahaha(**SMALL)
    teach(model, distorted(48, 1), steps=150, rate=2e-3, crop=64)
    unseen = distorted(4, 2)
    assert agreement(model, unseen) > 0.6
    with torch.no_grad():
        said = model.kind_head(model.encode(unseen.images, unseen.references))
    assert float(F.cross_entropy(said, unseen.kinds)) < math.log(5)  # that of a guess


def test_relative_distance_loss_is_invariant_to_a_constant() -> None:
    scores, values = torch.randn(2, 8, dtype=torch.float64)
    loss = relative_distance(scores, values)
    assert float(loss) > 0
    assert torch.allclose(relative_distance(scores + 3, values), loss)
    assert float(relative_distance(values + 3, values)) == pytest.approx(0, abs=1e-12)


def test_cost_is_the_cross_entropy_of_the_kinds() -> None:
    torch.manual_seed(0)
    model = Yahaha(**SMALL).eval()
    images, references = torch.rand(2, 4, 3, 48, 48)
    kinds = torch.tensor([0, 1, 2, 4])
    learnt = model.learn(images, references, kinds)
    wanted = F.cross_entropy(model.kind_head(model.encode(images, references)), kinds)
    assert learnt.cost is not None
    assert torch.allclose(learnt.cost, 0.1 * wanted)
    assert torch.allclose(learnt.scores, model(images, references))
    with pytest.raises(InvalidInput, match="more kinds of distortions than the 5"):
        model.learn(images, references, kinds + 1)


def test_images_of_any_size_have_the_same_grid() -> None:
    model = Yahaha(**SMALL).eval()
    for size in ((16, 40), (72, 48)):
        assert model(torch.rand(1, 3, *size), torch.rand(1, 3, *size)).shape == (1,)


def test_width_that_the_heads_do_not_divide() -> None:
    with pytest.raises(InvalidInput, match="3 heads do not divide"):
        Yahaha(**{**SMALL, "heads": 3})
