"""One suite for local scorers and upscalers, and those behind TCP, a unix socket and a unix socket
with shared memory: equal to the bit, same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import (
    DifferentiableScorer,
    FeatureExtractor,
    Scorer,
    Upscaler,
    open_scorer,
    open_upscaler,
)
from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.client import RemoteScorer
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    NotSupported,
    RankSRGANError,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.wire.tensor_transport import Transport
from ranksrgan.metrics.catalog import MetricCatalog
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture


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


@pytest.fixture(scope="module", autouse=True)
def _assets(random_weights: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(random_weights))
        yield


@pytest.fixture(scope="module", params=["local", "grpc", "unix", "shared"])
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
    metrics = MetricCatalog()
    servicers = {
        "metrics": [ScoringServicer(metrics), FeatureServicer(metrics)],
        "ranker": [ScoringServicer(rankers)],
        "srgan": [SuperResolutionServicer(models, upscale_picture)],
    }
    unix = request.param in ("unix", "shared")
    running = {
        name: start_server(f"unix:{folder}/{name}.sock" if unix else "127.0.0.1:0", offered)
        for name, offered in servicers.items()
    }

    def address(service: str, name: str) -> str:
        bound = running[service].address
        return f"unix://{bound.removeprefix('unix:')}/{name}" if unix else f"grpc://{bound}/{name}"

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "unix":  # a client that knows of no shared memory
            patch.setattr(Transport, "offered", lambda *arguments: None)
        yield Access(
            lambda name: open_scorer(address("ranker" if name == "tiny" else "metrics", name)),
            lambda name: open_upscaler(address("srgan", name)),
        )
    for server in running.values():
        server.stop()


def as_local(name: str, rankers: RankerCatalog) -> Scorer:
    return rankers.open(name) if name == "tiny" else open_scorer(name)


SCORERS = [
    *("niqe", "niqe?border=4&luma=gray", "psnr", "psnr?luma=rgb", "ssim?border=2", "rmse", "gmsd"),
    *("vifp", "lpips?net=squeeze", "niqe+0.4*rmse?border=4", "tiny"),
]


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


@pytest.mark.parametrize("name", ["tiny", "lpips?net=squeeze"])
def test_gradients_are_the_local_ones_to_the_bit(
    access: Access, rankers: RankerCatalog, name: str
) -> None:
    images = noise(2, 3, 64, 48)
    scorer, local = access.scorer(name), as_local(name, rankers)
    against = noise(2, 3, 64, 48, seed=1) if scorer.info.needs_reference else None
    assert isinstance(scorer, DifferentiableScorer)
    assert isinstance(local, DifferentiableScorer)
    found, expected = scorer.gradient(images, against), local.gradient(images, against)
    for ours, theirs in zip(found, expected, strict=True):
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


def test_images_that_require_a_gradient_of_a_metric_without_one(access: Access) -> None:
    images = noise(2, 3, 112, 208).requires_grad_(True)
    scores = access.scorer("niqe").score(images)
    assert not scores.requires_grad
    assert torch.equal(scores, open_scorer("niqe").score(images.detach()))


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


def stream(scorer: Scorer, images: list[Tensor | tuple[Tensor, Tensor]]) -> list[object]:
    """What a stream gives: of a remote scorer by `score_many`, else image by image."""
    if isinstance(scorer, RemoteScorer):
        return list(scorer.score_many(images, in_flight=3))
    outcomes: list[object] = []
    for image in images:
        picture, reference = image if isinstance(image, tuple) else (image, None)
        try:
            score = scorer.score(picture[None], None if reference is None else reference[None])
            outcomes.append(float(score))
        except RankSRGANError as error:
            outcomes.append(error)
    return outcomes


@pytest.mark.parametrize("name", SCORERS)
def test_streamed_scores_are_the_local_ones_to_the_bit(
    access: Access, rankers: RankerCatalog, name: str
) -> None:
    scorer = access.scorer(name)
    images: list[Tensor | tuple[Tensor, Tensor]] = []
    for seed, (height, width) in enumerate([(112, 208), (200, 120), (112, 208), (300, 110)]):
        image, reference = noise(2, 3, height, width, seed=seed)
        images.append((image, reference) if scorer.info.needs_reference else image)
    streamed = stream(scorer, images)
    assert streamed == stream(as_local(name, rankers), images)
    assert all(isinstance(score, float) for score in streamed)


def test_streamed_errors_are_the_local_ones_by_class(access: Access) -> None:
    good = noise(3, 112, 208)
    bad: list[Tensor | tuple[Tensor, Tensor]] = [
        noise(3, 90, 300),
        torch.zeros(3, 200, 200),
        good * 3,
        noise(2, 200, 200),
        (good, good),
        good.int(),
    ]
    outcomes = stream(access.scorer("niqe"), [image for wrong in bad for image in (wrong, good)])
    assert outcomes[1::2] == [float(open_scorer("niqe").score(good[None]))] * len(bad)
    kinds = [ImageTooSmall, UndefinedScore, *[InvalidInput] * 4]
    assert [type(outcome) for outcome in outcomes[::2]] == kinds


@pytest.mark.parametrize("name", ["niqe", "niqe?border=4&luma=gray"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_features_are_the_local_ones_to_the_bit(
    access: Access, name: str, dtype: torch.dtype
) -> None:
    images = (noise(2, 3, 200, 300) * 255).byte()
    images[1, :, :100, :100] = 0  # a flat block has no features: NaN
    images = images if dtype == torch.uint8 else images / 255
    scorer, local = access.scorer(name), open_scorer(name)
    assert isinstance(scorer, FeatureExtractor)
    assert isinstance(local, FeatureExtractor)
    features, expected = scorer.extract(images), local.extract(images)
    assert list(features) == ["niqe"]
    assert features["niqe"].shape[::2] == (2, 36)
    assert features["niqe"].dtype == torch.float64
    assert bool(features["niqe"].isnan().any())
    assert torch.equal(features["niqe"].view(torch.int64), expected["niqe"].view(torch.int64))


@pytest.mark.parametrize(
    ("name", "images", "error"),
    [
        ("niqe", noise(1, 3, 96, 96), ImageTooSmall),
        ("niqe", noise(1, 3, 200, 200) * 3, InvalidInput),
        ("niqe", torch.empty(0, 3, 200, 200), InvalidInput),
        ("psnr", noise(1, 3, 200, 200), NotSupported),
        ("tiny", noise(1, 3, 200, 200), NotSupported),  # its server has no FeatureService at all
    ],
)
def test_features_that_are_not_there(
    access: Access, name: str, images: Tensor, error: type[Exception]
) -> None:
    scorer = access.scorer(name)
    if not isinstance(scorer, FeatureExtractor):  # the remote class has the method; it says no
        assert error is NotSupported
        return
    with pytest.raises(error):
        scorer.extract(images)


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
