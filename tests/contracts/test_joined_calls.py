"""Calls of real models that a server joins: equal to the bit to calls that stand alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import DifferentiableScorer, Scorer, open_scorer
from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.client import connect_scorer, connect_upscaler
from ranksrgan.contracts.joining import joining_of
from ranksrgan.contracts.rpc import ServerLimits
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.ranker import VGG12, Ranker
from ranksrgan.ranker.ensemble import RankerEnsemble
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture
from tests.contracts.conftest import Catalog, Slow, StartServer, in_background
from tests.contracts.watcher import PATIENCE, Watcher

#: Joined calls, and images in each of them.
SIZES = (1, 2, 1, 3)

METRICS = ["niqe", "niqe?gradient=true", "psnr", "ssim", "rmse", "gmsd", "vifp", "niqe+0.4*rmse"]
METRICS += ["ms_ssim", "fsim", "vif", "lpips?net=squeeze"]


@pytest.fixture(scope="module", autouse=True)
def _assets(random_weights: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(random_weights))
        yield


def tiny_ranker() -> Ranker:
    return Ranker(VGG12(4, torch.Generator().manual_seed(1)), higher_is_better=False, device="cpu")


def noise(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Together:
    """A server whose device is held until all calls are in the queue."""

    def __init__(self, start: StartServer, scorer: Scorer | None = None) -> None:
        self.slow, self.watcher = Slow(), Watcher()
        scorers = {"slow": self.slow} | ({"model": scorer} if scorer else {})
        torch.manual_seed(2)
        self.model = GeneratorUpscaler(SRResNet(8, 2, 4))
        self.address = start(
            ScoringServicer(Catalog(**scorers)),
            SuperResolutionServicer(UpscalerCatalog({"model": self.model}), upscale_picture),
            limits=ServerLimits(workers=1, batch_size=16),
            observers=[self.watcher],
        ).address

    def run(self, calls: list[Callable[[], object]]) -> list[object]:
        gate = connect_scorer(self.address, "slow", timeout=PATIENCE)
        threads = [in_background(lambda: gate.score(torch.rand(1, 3, 2, 2)))]
        assert self.slow.working.acquire(timeout=PATIENCE)
        threads += [in_background(call) for call in calls]
        self.watcher.until(lambda: self.watcher.waiting("model") == len(calls))
        self.slow.release.set()
        for thread, _ in threads:
            thread.join(PATIENCE)
        return [outcome[0] for _, outcome in threads[1:]]

    @property
    def sizes(self) -> list[int]:
        return [size for model, size in self.watcher.batches if model == "model"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("name", METRICS)
def test_joined_scores_are_those_of_each_call(
    start: StartServer, name: str, dtype: torch.dtype
) -> None:
    local = open_scorer(name)
    assert joining_of(local).joins == "exactly"
    together = Together(start, local)
    remote = connect_scorer(together.address, "model", timeout=PATIENCE)
    batches = [noise(size, 3, 196, 208, seed=seed) for seed, size in enumerate(SIZES)]
    batches = [batch if dtype.is_floating_point else (255 * batch).byte() for batch in batches]
    against = [batch.flip(0, 3) if local.info.needs_reference else None for batch in batches]
    found = together.run(
        [lambda b=b, r=r: remote.score(b, r) for b, r in zip(batches, against, strict=True)]
    )
    assert together.sizes == [sum(SIZES)]  # they were one batch
    for scores, batch, references in zip(found, batches, against, strict=True):
        assert isinstance(scores, Tensor)
        assert torch.equal(scores, local.score(batch, references))


@pytest.mark.parametrize("name", ["niqe?gradient=true", "lpips?net=squeeze"])
def test_joined_gradients_are_those_of_each_call(start: StartServer, name: str) -> None:
    local = open_scorer(name)
    assert isinstance(local, DifferentiableScorer)
    together = Together(start, local)
    remote = connect_scorer(together.address, "model", timeout=PATIENCE)
    batches = [noise(size, 3, 100, 196, seed=seed) for seed, size in enumerate(SIZES)]
    against = [batch.flip(0, 3) if local.info.needs_reference else None for batch in batches]
    found = together.run(
        [lambda b=b, r=r: remote.gradient(b, r) for b, r in zip(batches, against, strict=True)]
    )
    assert together.sizes == [sum(SIZES)]
    for both, batch, references in zip(found, batches, against, strict=True):
        assert isinstance(both, tuple)
        for ours, theirs in zip(both, local.gradient(batch, references), strict=True):
            assert torch.equal(ours, theirs)


def test_joined_enlargements_are_those_of_each_call(start: StartServer) -> None:
    together = Together(start)
    assert joining_of(together.model).joins == "exactly"
    remote = connect_upscaler(together.address, "model", timeout=PATIENCE)
    batches = [noise(size, 3, 17, 9, seed=seed) for seed, size in enumerate(SIZES)]
    found = together.run([lambda b=b: remote.upscale(b) for b in batches])
    assert together.sizes == [sum(SIZES)]
    for enlarged, batch in zip(found, batches, strict=True):
        assert isinstance(enlarged, Tensor)
        assert torch.equal(enlarged, together.model.upscale(batch))


@pytest.mark.parametrize(
    "ranker", [tiny_ranker(), RankerEnsemble([tiny_ranker(), tiny_ranker()])], ids=["one", "two"]
)
def test_calls_of_a_ranker_are_not_joined_on_a_cpu(start: StartServer, ranker: Scorer) -> None:
    """Its convolutions would have other last bits, so each call is done as the client sent it."""
    assert joining_of(ranker).joins == "never"
    together = Together(start, ranker)
    remote = connect_scorer(together.address, "model", timeout=PATIENCE)
    batches = [noise(size, 3, 40, 64, seed=seed) for seed, size in enumerate(SIZES)]
    found = together.run([lambda b=b: remote.score(b) for b in batches])
    assert sorted(together.sizes) == sorted(SIZES)
    for scores, batch in zip(found, batches, strict=True):
        assert isinstance(scores, Tensor)
        assert torch.equal(scores, ranker.score(batch))


@pytest.mark.cuda
def test_calls_of_a_ranker_are_joined_on_a_gpu(start: StartServer) -> None:
    network = VGG12(4, torch.Generator().manual_seed(1))
    ranker = Ranker(network, higher_is_better=False, device="cuda")
    assert joining_of(ranker).joins == "nearly"
    assert joining_of(ranker).device.type == "cuda"
    frozen = Ranker(network, higher_is_better=False, device="cuda", batch_statistics=True)
    assert joining_of(frozen).joins == "never"


def test_a_flat_image_does_not_spoil_the_calls_beside_it(start: StartServer) -> None:
    local = open_scorer("niqe")
    together = Together(start, local)
    remote = connect_scorer(together.address, "model", timeout=PATIENCE)
    good = noise(1, 3, 100, 196, seed=1)
    found = together.run([lambda: remote.score(good), lambda: remote.score(torch.zeros_like(good))])
    assert isinstance(found[0], Tensor)
    assert torch.equal(found[0], local.score(good))
    assert "image 0 is too flat" in str(found[1])
