from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts import Scorer, open_scorer
from ranksrgan.contracts.assets import ASSETS
from ranksrgan.contracts.discovery import SCORERS, offered
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.metrics import METRICS, MetricCatalog, create_scorer, niqe, rmse
from ranksrgan.metrics.catalog import assets_of, open_metric, open_name, options_of

NAMES = [
    *(
        "niqe",
        "ma",
        "pi",
        "psnr",
        "ssim",
        "rmse",
        "ms_ssim",
        "gmsd",
        "fsim",
        "fsimc",
        "vif",
        "vifp",
    ),
    *("lpips", "dists", "pieapp"),
]


def test_every_metric_is_offered_and_opens_by_name() -> None:
    assert list(METRICS) == NAMES
    assert set(NAMES) <= set(offered(SCORERS))
    for name in NAMES:
        scorer = open_scorer(name)
        assert isinstance(scorer, Scorer)
        assert scorer.info.name == name


def test_options_reach_the_metric_and_its_name() -> None:
    image = torch.rand(1, 3, 110, 204)
    scorer = open_scorer("niqe?luma=gray&border=4")
    assert scorer.info.name == "niqe?border=4&luma=gray"
    assert torch.equal(scorer.score(image), niqe(image, 4, "gray"))
    assert create_scorer("niqe", border=4, luma="gray").info == scorer.info
    assert open_scorer("psnr?border=0&luma=y").info.name == "psnr"


def test_unknown_metric() -> None:
    for opened in (create_scorer, open_name, MetricCatalog().open):
        with pytest.raises(UnknownName, match="one of niqe, ma, pi, psnr, ssim"):
            opened("brisque")
    with pytest.raises(UnknownName, match=r"'b{120}': it is one of niqe") as caught:
        create_scorer("b" * 200_000)
    assert caught.value.field == "b" * 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shave": "4"}, "border, luma"),
        ({"border": "-1"}, "border=-1"),
        ({"border": "four"}, "border=four"),
        ({"border": "4.0"}, "border=4.0"),
        ({"border": ""}, "border="),
        ({"border": "٤"}, "border"),
        ({"border": "9" * 5000}, "border"),
        ({"luma": "Y"}, "y, gray"),
    ],
)
def test_bad_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        open_metric("niqe", options)


def test_options_are_those_of_the_metric() -> None:
    assert options_of("niqe") == {"border": 0, "luma": "y", "gradient": False}
    assert open_name("niqe?gradient=true&border=4").info.differentiable
    assert open_name("niqe?gradient=false").info.name == "niqe"
    with pytest.raises(InvalidInput, match="gradient=yes: true or false is wanted"):
        open_name("niqe?gradient=yes")
    assert options_of("lpips") == {"border": 0, "net": "alex"}
    assert options_of("dists") == {"border": 0}
    assert open_name("lpips?net=vgg").info.name == "lpips?net=vgg"
    assert open_name("ssim?luma=rgb&border=4").info.name == "ssim?border=4&luma=rgb"
    with pytest.raises(InvalidInput, match="dists has no option luma; it has: border"):
        create_scorer("dists", luma="y")
    for name in NAMES:
        assert set(assets_of(name)) <= set(ASSETS)


def test_a_sum_opens_by_name_everywhere() -> None:
    images, references = torch.rand(2, 1, 3, 104, 200)
    name = "niqe?border=4+0.4*rmse?border=4"
    for opened in (open_scorer, open_name, MetricCatalog().open):
        scorer = opened(name)
        assert scorer.info.name == name
        expected = niqe(images, 4) + 0.4 * rmse(images, references, 4)
        assert torch.equal(scorer.score(images, references), expected)


def test_malformed_names() -> None:
    for name in ("niqe?border", "niqe?border=1&border=2"):
        with pytest.raises(InvalidInput):
            open_name(name)


def test_catalog_for_a_service() -> None:
    catalog = MetricCatalog()
    infos = catalog.infos()
    assert [info.name for info in infos] == NAMES
    assert [info.name for info in infos if not info.needs_reference] == ["niqe", "ma", "pi"]
    lower = {info.name for info in infos if not info.higher_is_better}
    assert lower == {"niqe", "pi", "rmse", "gmsd", "lpips", "dists", "pieapp"}
    assert catalog.open("niqe?border=4") is catalog.open("niqe?border=4")
    assert catalog.open("niqe?border=4").info.name == "niqe?border=4"
    for border in range(200):
        catalog.open(f"psnr?border={border}")
    assert catalog.open("psnr?border=3").info.name == "psnr?border=3"
