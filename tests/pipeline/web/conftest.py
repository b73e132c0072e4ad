"""The three services of the page with small models, in this process, and the page's application."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from starlette.testclient import TestClient
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import RequestCancelled
from ranksrgan.contracts.images import Picture, encode_image, write_image
from ranksrgan.contracts.rpc import RunningServer, start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.metrics import Bicubic, MetricCatalog
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.comparisons import Limits
from ranksrgan.pipeline.web.services import Role
from ranksrgan.pipeline.web.study import Study, open_study
from ranksrgan.pipeline.web.vote_book import VoteBook
from ranksrgan.ranker import VGG12, RankerCatalog
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture

#: Seconds for what must happen, on a machine that has other things to do.
PATIENCE = 120.0

MakeClient = Callable[..., TestClient]


class Darker:
    """A model of scale 4: bicubic interpolation with half the brightness."""

    info = UpscalerInfo("darker", "1", 4, "trial")

    def upscale(self, images: Tensor) -> Tensor:
        return Bicubic(4).upscale(images) / 2


class Slow:
    """A model that works until it is released, in small steps as ours do."""

    info = UpscalerInfo("slow", "1", 4, "trial")

    def __init__(self) -> None:
        self.release = threading.Event()
        self.working = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)

    def upscale(self, images: Tensor) -> Tensor:
        self.working.release()
        try:
            while not self.release.wait(0.01):
                cancellation.check()
        except RequestCancelled:
            self.cancelled.release()
            raise
        return Bicubic(4).upscale(images)


class Doubling:
    """A model of another scale."""

    info = UpscalerInfo("doubling", "1", 2, "trial")

    def upscale(self, images: Tensor) -> Tensor:
        return Bicubic(2).upscale(images)


class TrialServices:
    """The services at unix sockets; any of them can go and come back."""

    def __init__(self, folder: Path) -> None:
        self.slow = Slow()
        ranker = Ranker(VGG12(2, torch.Generator().manual_seed(1)), higher_is_better=False)
        models = {"darker": Darker(), "slow": self.slow, "doubling": Doubling()}
        self._servicers = {
            "metrics": ScoringServicer(MetricCatalog()),
            "srgan": SuperResolutionServicer(UpscalerCatalog(models), upscale_picture),
            "ranker": ScoringServicer(RankerCatalog({"small": ranker})),
        }
        roles: tuple[Role, ...] = ("metrics", "srgan", "ranker")
        self.addresses: dict[Role, str] = {role: f"unix://{folder}/{role}.sock" for role in roles}
        self._running: dict[Role, RunningServer] = {}
        for role in roles:
            self.start(role)

    def start(self, role: Role) -> None:
        address = self.addresses[role].replace("unix://", "unix:")
        self._running[role] = start_server(address, [self._servicers[role]])

    def stop(self, role: Role) -> None:
        self._running.pop(role).stop()

    def close(self) -> None:
        self.slow.release.set()
        for role in list(self._running):
            self.stop(role)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[TrialServices]:
    there = TrialServices(tmp_path)
    yield there
    there.close()


@pytest.fixture
def make_client(services: TrialServices) -> Iterator[MakeClient]:
    """Makes clients of an application that uses the services; its limits and the rest are given."""
    clients = []

    def make(limits: Limits | None = None) -> TestClient:
        app = make_app(services.addresses, {}, None, limits=limits)
        client = TestClient(app, base_url="http://localhost:8080", raise_server_exceptions=False)
        clients.append(client.__enter__())
        client.get("/api/services")  # as the page does before it starts anything
        return client

    yield make
    services.slow.release.set()
    for client in clients:
        client.__exit__()


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """Two contents with three methods each; every image has another grey."""
    folder = tmp_path / "faces"
    for i, content in enumerate(("cat", "cup")):
        for j, method in enumerate(("sharp", "soft", "noisy")):
            pixels = np.full((40, 48, 3), 40 * (3 * i + j) + 10, np.uint8)
            write_image(folder / content / f"{method}.png", Picture(pixels))
    return folder


@pytest.fixture
def study(study_folder: Path) -> Study:
    return open_study("faces", study_folder)


@pytest.fixture
def book(tmp_path: Path) -> VoteBook:
    return VoteBook(tmp_path / "votes.sqlite")


@pytest.fixture
def study_client(study: Study, book: VoteBook) -> Iterator[TestClient]:
    """A client of an application with the study ``faces`` and no service."""
    app = make_app({}, {"faces": study}, book)
    with TestClient(app, base_url="http://localhost:8080") as client:
        yield client


def photograph(height: int = 200, width: int = 208) -> bytes:
    """A piece of a photograph as a PNG file."""
    return encode_image(Picture(np.ascontiguousarray(data.astronaut()[:height, :width])))
