"""One suite for local, TCP and unix-socket scorers and upscalers: equal to the bit, same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import (
    DifferentiableScorer,
    Scorer,
    Upscaler,
    open_scorer,
    open_upscaler,
)
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    NotSupported,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.service import ScoringServicer, SuperResolutionServicer
from ranksrgan.metrics.catalog import MetricCatalog
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.picture import upscale_picture


@dataclass(frozen=True)
class Access:
    """How a test reaches scorers and upscalers, and what is on the other side."""

    scorer: Callable[[str], Scorer]
    upscaler: Callable[[str], Upscaler]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def rankers() -> RankerCatalog:
    network = VGG12(4, torch.Generator().manual_seed(1))
    return RankerCatalog(
        {"tiny": Ranker(network, higher_is_better=False, name="tiny", device="cpu")}
    )


@pytest.fixture(scope="module")
def models() -> UpscalerCatalog:
    torch.manual_seed(2)
    return UpscalerCatalog({"tiny": GeneratorUpscaler(SRResNet(8, 2, 4), name="tiny")})


@pytest.fixture(scope="module", params=["local", "grpc", "unix"])
def access(
    request: pytest.FixtureRequest,
    rankers: RankerCatalog,
    models: UpscalerCatalog,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Access]:
    if request.param == "local":

        def local_scorer(name: str) -> Scorer:
            return rankers.open(name) if name == "tiny" else open_scorer(name)

        yield Access(local_scorer, models.open)
        return
    folder = tmp_path_factory.mktemp("sockets")
    servicers = {
        "metrics": ScoringServicer(MetricCatalog()),
        "ranker": ScoringServicer(rankers),
        "srgan": SuperResolutionServicer(models, upscale_picture),
    }
    unix = request.param == "unix"
    running = {
        name: start_server(f"unix:{folder}/{name}.sock" if unix else "127.0.0.1:0", [servicer])
        for name, servicer in servicers.items()
    }

    def address(service: str, name: str) -> str:
        bound = running[service].address
        return f"unix://{bound.removeprefix('unix:')}/{name}" if unix else f"grpc://{bound}/{name}"

    yield Access(
        lambda name: open_scorer(address("ranker" if name == "tiny" else "metrics", name)),
        lambda name: open_upscaler(address("srgan", name)),
    )
    for server in running.values():
        server.stop()


def as_local(name: str, rankers: RankerCatalog) -> Scorer:
    return rankers.open(name) if name == "tiny" else open_scorer(name)


SCORERS = ["niqe", "niqe?border=4&luma=gray", "psnr", "ssim?border=2", "rmse", "tiny"]


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_scores_are_the_local_ones_to_the_bit(
    access: Access, rankers: RankerCatalog, name: str, dtype: torch.dtype
) -> None:
    images, references = noise(3, 3, 112, 208), noise(3, 3, 112, 208, seed=1)
    if dtype == torch.uint8:
        images, references = (images * 255).byte(), (references * 255).byte()
    else:
        images, references = images.to(dtype), references.to(dtype)
    scorer, local = access.scorer(name), as_local(name, rankers)
    against = references if scorer.info.needs_reference else None
    scores = scorer.score(images, against)
    assert scores.dtype == torch.float64
    assert torch.equal(scores, local.score(images, against))


@pytest.mark.parametrize("name", SCORERS)
def test_infos_are_the_local_ones(access: Access, rankers: RankerCatalog, name: str) -> None:
    scorer = access.scorer(name)
    assert scorer.info == as_local(name, rankers).info
    assert isinstance(scorer, Scorer)


def test_a_remote_differentiable_scorer_is_one(access: Access) -> None:
    assert isinstance(access.scorer("tiny"), DifferentiableScorer)
    assert access.scorer("tiny").info.differentiable


def test_gradients_are_the_local_ones_to_the_bit(access: Access, rankers: RankerCatalog) -> None:
    images = noise(2, 3, 64, 48)
    scorer, local = access.scorer("tiny"), rankers.open("tiny")
    assert isinstance(scorer, DifferentiableScorer)
    assert isinstance(local, DifferentiableScorer)
    for ours, theirs in zip(scorer.gradient(images), local.gradient(images), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_scores_carry_gradients_through_a_loss(access: Access, rankers: RankerCatalog) -> None:
    results = []
    for scorer in (access.scorer("tiny"), rankers.open("tiny")):
        images = noise(2, 3, 64, 48).requires_grad_(True)
        (torch.sigmoid(scorer.score(images * 0.5)).mean() * 3).backward()
        assert images.grad is not None
        results.append(images.grad)
    # The chain rule is split at another place, so the last bits may differ.
    assert (results[0] - results[1]).abs().max() < 1e-5 * results[1].abs().max()
    assert results[1].abs().max() > 0


@pytest.mark.parametrize("name", ["niqe", "tiny"])
def test_an_empty_batch_is_a_mistake(access: Access, name: str) -> None:
    with pytest.raises(InvalidInput):
        access.scorer(name).score(torch.empty(0, 3, 200, 200))
    with pytest.raises(InvalidInput):
        access.upscaler("tiny").upscale(torch.empty(0, 3, 8, 9))


@pytest.mark.parametrize(
    ("name", "images", "references", "error"),
    [
        ("niqe", noise(1, 3, 96, 96), None, ImageTooSmall),
        ("niqe", torch.zeros(1, 3, 200, 200), None, UndefinedScore),
        ("niqe", noise(1, 2, 200, 200), None, InvalidInput),
        ("niqe", noise(3, 200, 200), None, InvalidInput),
        ("niqe", noise(1, 3, 200, 200) * 3, None, InvalidInput),
        ("niqe", noise(1, 3, 200, 200) * torch.nan, None, InvalidInput),
        ("niqe", noise(1, 3, 200, 200), noise(1, 3, 200, 200), InvalidInput),
        ("psnr", noise(1, 3, 20, 20), None, InvalidInput),
        ("psnr", noise(1, 3, 20, 20), noise(1, 3, 20, 24), InvalidInput),
        ("tiny", noise(1, 3, 31, 64), None, ImageTooSmall),
    ],
)
def test_errors_are_the_local_ones_by_class(
    access: Access,
    name: str,
    images: Tensor,
    references: Tensor | None,
    error: type[Exception],
) -> None:
    with pytest.raises(error) as caught:
        access.scorer(name).score(images, references)
    assert type(caught.value) is error or error is InvalidInput


@pytest.mark.parametrize("name", ["nique", "niqe?borders=4", "niqe?border=x", "niqe?luma=red"])
def test_unknown_names_and_options(access: Access, name: str) -> None:
    with pytest.raises((UnknownName, InvalidInput)) as caught:
        access.scorer(name)
    assert isinstance(caught.value, UnknownName) == (name == "nique")


def test_a_metric_has_no_gradient(access: Access) -> None:
    scorer = access.scorer("niqe")
    assert not scorer.info.differentiable
    if isinstance(scorer, DifferentiableScorer):  # the remote class has the method; it says no
        with pytest.raises(NotSupported):
            scorer.gradient(noise(1, 3, 200, 200))


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 17, 9), (1, 3, 40, 64)])
def test_enlargements_are_the_local_ones_to_the_bit(
    access: Access, models: UpscalerCatalog, shape: tuple[int, ...]
) -> None:
    images = noise(*shape)
    upscaler = access.upscaler("tiny")
    enlarged = upscaler.upscale(images)
    assert enlarged.dtype == torch.float32
    assert torch.equal(enlarged, models.open("tiny").upscale(images))
    assert upscaler.info == models.open("tiny").info
    assert isinstance(upscaler, Upscaler)


@pytest.mark.parametrize(
    "images", [noise(1, 1, 8, 8), noise(3, 8, 8), noise(1, 3, 8, 8) + 1, noise(1, 3, 0, 8)]
)
def test_what_cannot_be_enlarged(access: Access, images: Tensor) -> None:
    with pytest.raises(InvalidInput):
        access.upscaler("tiny").upscale(images)


def test_an_unknown_model(access: Access) -> None:
    with pytest.raises(UnknownName):
        access.upscaler("huge")


def test_weights_open_by_path(tmp_path: Path) -> None:
    from ranksrgan.srgan import save_generator

    torch.manual_seed(2)
    save_generator(tmp_path / "g.safetensors", SRResNet(8, 2, 2), {})
    upscaler = open_upscaler(str(tmp_path / "g.safetensors"))
    assert upscaler.info.scale == 2
    assert upscaler.upscale(noise(1, 3, 4, 5)).shape == (1, 3, 8, 10)
