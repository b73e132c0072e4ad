from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import discovery, open_scorer
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.discovery import (
    SUMS,
    asks_service,
    from_anywhere,
    list_scorers,
    list_upscalers,
    open_pair_source,
    open_upscaler,
    parse_options,
)
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidInput,
    NotSupported,
    ServiceUnavailable,
    UnknownName,
)
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.specs import is_sum, service_address
from ranksrgan.metrics import niqe, rmse
from ranksrgan.ranker import VGG12
from tests.contracts.conftest import Catalog, Contrast, StartServer


@pytest.fixture
def _fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of ranksrgan-metrics, whatever version of it is installed."""
    found = discovery.entry_points

    def entry_points(**query: str) -> object:
        if query["group"] == SUMS:
            return [EntryPoint("fused", "ranksrgan.metrics.fused:fuse", SUMS)]
        return found(**query)

    monkeypatch.setattr(discovery, "entry_points", entry_points)


def test_a_plus_sign_in_an_option_is_one() -> None:
    assert parse_options("a=1+2&b=x%20y%2Bz&c=", "s") == {"a": "1+2", "b": "x y+z", "c": ""}
    assert parse_options("", "s") == {}
    for malformed in ("a", "a=1&", "a=1&a=2"):
        with pytest.raises(InvalidInput):
            parse_options(malformed, "s")


def test_a_spec_from_anywhere_has_the_whole_path_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pth").touch()
    assert from_anywhere("a.pth?head=ma") == f"{tmp_path}/a.pth?head=ma"
    for elsewhere in ("grpc://gpu:50052/niqe", "niqe?border=4", "b.pth", "x" * 9999):
        assert from_anywhere(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("name", "sum_"),
    [
        ("niqe", False),
        ("niqe?border=4&luma=gray", False),
        ("lpips-alex", False),
        ("niqe+rmse", True),
        ("-2*ssim", True),
        ("niqe?x=1%2B1", False),
    ],
)
def test_what_is_a_sum(name: str, sum_: bool) -> None:
    assert is_sum(name) == sum_


@pytest.mark.usefixtures("_fused")
def test_what_asks_a_service() -> None:
    asking = "grpc://h:1/niqe", "grpcs://h:1/a+b", "unix:/s.sock/niqe", "niqe+2*(grpc://h:1/niqe)"
    assert all(map(asks_service, asking))
    assert not any(map(asks_service, ("niqe", "niqe+0.4*rmse", "a.pth", "(b/a.pth)+niqe")))


def test_a_sum_opens_by_name() -> None:
    images, references = torch.rand(2, 1, 3, 104, 200)
    scorer = open_scorer("niqe?border=4+0.4*rmse?border=4")
    assert scorer.info.name == "niqe?border=4+0.4*rmse?border=4"
    expected = niqe(images, 4) + 0.4 * rmse(images, references, 4)
    assert torch.equal(scorer.score(images, references), expected)
    assert open_scorer("(niqe+rmse)-2*ssim").info.name == "(niqe+rmse)-2*ssim"


@pytest.mark.usefixtures("_fused")
def test_a_path_opens_what_its_text_does_and_no_sum(tmp_path: Path) -> None:
    path = tmp_path / "a+b.safetensors"
    weights = VGG12(2, torch.Generator().manual_seed(0)).state_dict()
    save_weights(path, weights, kind="ranker", architecture="vgg12", options={"width": 2})
    images = torch.rand(2, 3, 48, 64)
    scores = open_scorer(path).score(images)
    assert scores.shape == (2,)
    assert torch.equal(scores, open_scorer(str(path)).score(images))
    assert torch.equal(open_scorer(Path(f"{path}?device=cpu")).score(images), scores)
    path.unlink()
    with pytest.raises(InvalidCheckpoint, match=r"a\+b\.safetensors"):
        open_scorer(path)
    with pytest.raises(InvalidCheckpoint, match="is a folder"):
        open_scorer(tmp_path)
    with pytest.raises(InvalidCheckpoint, match=r"generator\.pth"):
        open_upscaler(tmp_path / "generator.pth")
    assert open_upscaler(Path("bicubic?scale=2")).info.scale == 2
    with pytest.raises(UnknownName, match="is no folder; a rank dataset is one"):
        open_pair_source(tmp_path / "ranks")


@pytest.mark.usefixtures("_fused")
def test_terms_may_be_files_and_services(start: StartServer, tmp_path: Path) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    path = tmp_path / "a+b-2*c.safetensors"
    save_weights(
        path,
        VGG12(2, torch.Generator().manual_seed(0)).state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 2},
        about={"metric": "ssim", "higher_is_better": True},
    )
    fused = open_scorer(f"(grpc://{server.address}/contrast)+2*({path})")
    images = torch.rand(2, 3, 48, 64)
    ranker = open_scorer(str(path))  # a file that is there is no sum
    expected = Contrast().score(images) + 2 * ranker.score(images)
    assert torch.equal(fused.score(images), expected)
    assert fused.info.differentiable


def test_what_follows_an_address_belongs_to_the_service(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(**{"a+b": Contrast()})))
    assert open_scorer(f"grpc://{server.address}/a+b").info.name == "contrast"


@pytest.mark.usefixtures("_fused")
def test_a_sum_too_long_for_the_name_of_a_file() -> None:
    with pytest.raises(UnknownName, match="xxx"):
        open_scorer("niqe+" + "x" * 900)


def test_a_sum_without_the_package_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "entry_points", lambda **query: [])
    with pytest.raises(UnknownName, match="pip install packages/metrics"):
        open_scorer("niqe+0.4*rmse")


def test_a_service_lists_what_it_offers(start: StartServer, tmp_path: Path) -> None:
    catalog = Catalog(contrast=Contrast(), spread=Contrast())
    server = start(ScoringServicer(catalog), address=f"unix:{tmp_path}/s.sock")
    service = f"unix://{tmp_path}/s.sock"
    infos = list_scorers(service)
    assert infos == catalog.infos()
    assert open_scorer(f"{service}/{infos[0].name}").info == infos[0]
    with pytest.raises(NotSupported):
        list_upscalers(service)
    server.stop()
    with pytest.raises(ServiceUnavailable):
        list_scorers(service)


def test_addresses_of_services() -> None:
    assert service_address("grpc://host:1") == service_address("grpc://host:1/") == "host:1"
    assert service_address("unix:///run/s.sock") == "unix:/run/s.sock"
    for text in ("host:1", "http://host:1", "grpc://host", "grpc://unix:/s.sock", "grpc://:1"):
        with pytest.raises(InvalidInput, match="write grpc://HOST:PORT"):
            service_address(text)


def test_a_path_that_is_no_weights_file_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run/config.yaml", "run/last.state.pt", "run/a.pth", "run/ranker.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("images").mkdir()
    Path("rmse").mkdir()
    wanted = ".safetensors, .pth or .pt is wanted"
    for spec, said in {
        "run/config.yaml": f"run/config.yaml is no weights file: {wanted}",
        "run/config.yaml?head=ma": f"run/config.yaml is no weights file: {wanted}",
        "run": "run is a folder; name the file in it, such as run/ranker.safetensors",
        "run/": "run/ is a folder; name the file in it, such as run/ranker.safetensors",
        "images": f"images is a folder; name the file in it: {wanted}",
    }.items():
        with pytest.raises(InvalidCheckpoint) as refused:
            open_scorer(spec)
        assert str(refused.value) == said
        assert refused.value.field == spec.partition("?")[0]
    with pytest.raises(InvalidCheckpoint, match=r"such as run/a\.pth"):
        open_upscaler("run")
    with pytest.raises(UnknownName, match="'nothing' is neither a file nor one of"):
        open_scorer("nothing")
    assert open_scorer("rmse").info.name == "rmse"  # what is offered goes before a folder
