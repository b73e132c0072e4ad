"""A model that is pinned stays the one that was opened, or its calls fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.client import RemoteScorer, RemoteUpscaler
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import ModelReplaced, UnknownName
from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.loaded_models import LoadedModels, open_models
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.ranker import Ranker
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.opening import ranker_of
from ranksrgan.srgan import GeneratorUpscaler
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.opening import upscaler_of
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.rows import RowsEnlargement
from tests.contracts.conftest import StartServer
from tests.contracts.repositories import put_generator, put_ranker

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def scorers(tmp_path: Path, start: StartServer) -> tuple[str, LoadedModels[Ranker]]:
    """The address of a server of rankers, and its repository."""
    put_ranker(tmp_path, "rk", 1, seed=1)
    models = open_models(RepositorySettings(root=tmp_path), ranker_of, Ranker.named)
    assert models is not None
    return start(ScoringServicer(RankerCatalog({}, models))).address, models


def test_a_scorer(tmp_path: Path, scorers: tuple[str, LoadedModels[Ranker]]) -> None:
    address, models = scorers
    pinned, free = (open_scorer(f"grpc://{address}/rk", pinned=pinned) for pinned in (True, False))
    assert isinstance(pinned, RemoteScorer)
    first = pinned.score(IMAGES)
    assert torch.equal(free.score(IMAGES), first)

    put_ranker(tmp_path, "rk", 2, seed=2)
    models.load("rk")
    assert not torch.equal(free.score(IMAGES), first)
    assert torch.equal(pinned.score(IMAGES), first)
    assert torch.equal(pinned.gradient(IMAGES)[0], first)
    assert list(pinned.score_many([IMAGES[0]])) == pytest.approx([first[0].item()], abs=1e-5)

    put_ranker(tmp_path, "rk", 1, seed=3)
    models.reload("rk:1")
    with pytest.raises(ModelReplaced, match=r"rk:1 has other weights .* open it again") as caught:
        pinned.score(IMAGES)
    assert caught.value.field == "scorer"
    with pytest.raises(ModelReplaced):
        pinned.gradient(IMAGES)
    (outcome,) = pinned.score_many([IMAGES[0]])
    assert isinstance(outcome, ModelReplaced)
    again = open_scorer(f"grpc://{address}/rk:1", pinned=True)
    assert not torch.equal(again.score(IMAGES), first)
    models.unload("rk:1")
    with pytest.raises(UnknownName, match="rk:1"):
        again.score(IMAGES)


def test_an_upscaler(tmp_path: Path, start: StartServer) -> None:
    root, picture = tmp_path / "models", tmp_path / "picture.png"
    write_image(picture, from_tensor(IMAGES[0]))
    put_generator(root, "x4", 1, seed=1)
    models = open_models(RepositorySettings(root=root), upscaler_of, GeneratorUpscaler.named)
    assert models is not None
    streams = UpscaleStreams(enlargement_for, RowsEnlargement)
    servicer = SuperResolutionServicer(
        UpscalerCatalog({}, models), upscale_picture, streams=streams
    )
    address = start(servicer).address

    def results(upscaler: Upscaler) -> Iterator[Callable[[], object]]:
        """All ways to ask for an image."""
        assert isinstance(upscaler, RemoteUpscaler)
        remote, target = upscaler, tmp_path / "large.png"
        rows = RowImage(32, 32, 3, torch.float32)

        def by_file() -> bytes:
            remote.upscale_file(picture, target)
            return target.read_bytes()

        def by_rows() -> list[float]:
            strips = remote.upscale_rows(rows, lambda top, bottom: IMAGES[:1, :, top:bottom])
            return torch.cat(list(strips), 2).flatten().tolist()

        yield lambda: remote.upscale(IMAGES).flatten().tolist()
        yield lambda: remote.upscale_encoded(picture.read_bytes())
        yield by_file
        yield by_rows

    pinned, free = (
        open_upscaler(f"grpc://{address}/x4", pinned=pinned) for pinned in (True, False)
    )
    first = [ask() for ask in results(pinned)]
    put_generator(root, "x4", 2, seed=2)
    models.load("x4")
    for ask, ask_free, before in zip(results(pinned), results(free), first, strict=True):
        assert ask() == before
        assert ask_free() != before
    put_generator(root, "x4", 1, seed=3)
    models.reload("x4:1")
    for ask in results(pinned):
        with pytest.raises(ModelReplaced, match="x4:1 has other weights"):
            ask()
    assert (tmp_path / "large.png").is_file()  # of the time before
    assert [ask() for ask in results(open_upscaler(f"grpc://{address}/x4:1"))] != first


def test_what_a_name_becomes() -> None:
    info = ScorerInfo("rk", "1", True, False, True, 1, parameters_hash="ab", model_version="7")
    assert OpenedModel.of("rk", info, pinned=False) == OpenedModel("rk")
    assert OpenedModel.of("rk", info, pinned=True) == OpenedModel("rk:7", "ab")
    assert OpenedModel.of("rk:7", info, pinned=True) == OpenedModel("rk:7", "ab")
    assert OpenedModel.of("rk?a=b:c", info, pinned=True) == OpenedModel("rk:7?a=b:c", "ab")
    metric = ScorerInfo("niqe", "1", False, False, False, 96, parameters_hash="cd")
    assert OpenedModel.of("niqe?border=4", metric, pinned=True) == OpenedModel(
        "niqe?border=4", "cd"
    )
