from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.rpc import ServerLimits, start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.metrics import niqe
from ranksrgan.metrics.catalog import MetricCatalog
from ranksrgan.metrics.flagged import FlaggedScorers
from ranksrgan.metrics.ma.model import MaModel
from ranksrgan.metrics.ma.scorer import Ma
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.pi import Pi


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    servicer = ScoringServicer(MetricCatalog(), max_pixels=2**24)
    server = start_server("127.0.0.1:0", [servicer], ServerLimits())
    yield f"grpc://{server.address}"
    server.stop()


@pytest.fixture
def forests(ma_mat: Path, tmp_path: Path) -> Path:
    """Of fit-ma with a border of 4 and luma gray, as far as the file says."""
    model = dataclasses.replace(MaModel.load(ma_mat), about={"border": 4, "luma": "gray"})
    model.save(tmp_path / "forests.safetensors")
    return tmp_path / "forests.safetensors"


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    published = NiqeModel.published()
    NiqeModel(published.mean + 0.1, published.covariance).save(tmp_path / "pristine.json")
    return tmp_path / "pristine.json"


@pytest.fixture
def image(photograph: Callable[[str], Tensor]) -> Tensor:
    return photograph("coffee")[..., :120, :220]


@pytest.mark.parametrize(
    ("border", "luma", "name", "expected"),
    [
        (4, None, "niqe", "niqe?border=4"),
        (4, "gray", "niqe", "niqe?border=4&luma=gray"),
        (4, "gray", "niqe?luma=y", "niqe?border=4"),  # what a name says goes before
        (4, None, "niqe?border=2", "niqe?border=2"),
        (None, None, "niqe", "niqe"),
        (0, None, "niqe", "niqe"),
        (4, "gray", "rmse", "rmse?border=4&luma=gray"),
        (None, None, "niqe+0.4*rmse", "niqe+0.4*rmse"),
    ],
)
def test_flags_reach_metrics_of_a_service(
    service: str, border: int | None, luma: str | None, name: str, expected: str
) -> None:
    assert FlaggedScorers(border, luma).open(f"{service}/{name}").info.name == expected


def test_flags_reach_a_service_in_a_sum(service: str, image: Tensor) -> None:
    scorer = FlaggedScorers(4, None).open(f"({service}/niqe)+niqe")
    assert torch.equal(scorer.score(image), 2 * niqe(image, border=4))


def test_flags_that_do_not_reach_are_a_mistake(service: str, tmp_path: Path) -> None:
    ranker = tmp_path / "ranker.safetensors"
    ranker.touch()
    for border, luma, name, message in (
        (4, None, f"{service}/niqe+0.4*rmse", "niqe.*rmse: --border would not reach it"),
        (None, "gray", f"{service}/another", "another: --luma would not reach it"),
        (4, "gray", str(ranker), r"ranker\.safetensors: --border and --luma would not reach it"),
        (0, None, f"niqe+({ranker})", r"ranker\.safetensors: --border would not reach it"),
    ):
        with pytest.raises(InvalidInput, match=message):
            FlaggedScorers(border, luma).open(name)


def test_a_model_of_ma_is_used_as_it_was_trained(
    forests: Path, image: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    model = MaModel.load(forests)
    flagged = FlaggedScorers(None, None, ma_model=forests)
    assert torch.equal(flagged.open("ma").score(image), Ma(4, "gray", model).score(image))
    assert torch.equal(flagged.open("pi").score(image), Pi(4, "gray", model).score(image))
    assert flagged.open("niqe").info.name == "niqe"
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        other = FlaggedScorers(0, None, ma_model=forests).open("ma")
    assert torch.equal(other.score(image), Ma(0, "gray", model).score(image))
    assert caplog.messages == [
        "ma: the model of Ma was trained with border 4 and luma gray, and scores with border 0 and "
        "luma gray"
    ]


def test_a_model_of_niqe_reaches_pi(forests: Path, pristine: Path, image: Tensor) -> None:
    own = NiqeModel.load(pristine)
    flagged = FlaggedScorers(None, None, pristine, forests)
    expected = Pi(4, "gray", MaModel.load(forests), own)
    assert torch.equal(flagged.open("pi").score(image), expected.score(image))
    alone = FlaggedScorers(2, None, pristine).open("pi")
    assert alone.info.name == "pi?border=2"


@pytest.mark.parametrize(
    ("flag", "names", "used"),
    [
        ("niqe", ["psnr", "ma"], False),
        ("niqe", ["pi"], True),
        ("niqe", ["0.5*niqe+rmse"], True),
        ("ma", ["niqe", "lpips"], False),
        ("ma", ["niqe", "ma"], True),
    ],
)
def test_a_model_that_no_metric_uses_is_a_mistake(
    forests: Path, pristine: Path, flag: str, names: list[str], used: bool
) -> None:
    flagged = FlaggedScorers(
        None, None, pristine if flag == "niqe" else None, forests if flag == "ma" else None
    )
    for name in names:
        flagged.open(name)
    if used:
        flagged.check_models()
    else:
        with pytest.raises(InvalidInput, match=f"--{flag}-model is for .*, and none of them"):
            flagged.check_models()


def test_a_path_that_is_no_weights_file_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("image,mos\na,1\n")
    with pytest.raises(InvalidCheckpoint, match=r"scores\.csv is no weights file: \.safetensors,"):
        FlaggedScorers(None, None).open(str(file))
    (tmp_path / "ranker.safetensors").touch()
    with pytest.raises(InvalidCheckpoint, match=r"is a folder; .* such as .*/ranker\.safetensors"):
        FlaggedScorers(None, None).open(str(tmp_path))
