"""Small real scorers, and servers on loopback to reach them through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import Scorer, ScorerInfo, cancellation
from ranksrgan.contracts.errors import (
    InvalidInput,
    RankSRGANError,
    RequestCancelled,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, Servicer, start_server
from ranksrgan.contracts.serving.observer import Observer

StartServer = Callable[..., RunningServer]


class Contrast:
    """The standard deviation of each image: smooth, cheap, and undefined for a flat image."""

    info = ScorerInfo("contrast", "1", True, False, True, 2)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        if references is not None:
            raise InvalidInput("contrast takes no reference", field="references")
        if min(images.shape[2:], default=0) < 2:
            raise InvalidInput("images need 2 x 2 pixels", field="images")
        spread = images.double().flatten(1).std(dim=1)
        if bool((spread == 0).any()):
            raise UndefinedScore("a flat image has no contrast", field="images")
        return spread

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = images.detach().requires_grad_(True)
            scores = self.score(leaf, references)
            (gradients,) = torch.autograd.grad(scores.sum(), leaf)
        return scores.detach(), gradients


class Slow:
    """Works until it is released, in small steps as our loops do."""

    info = ScorerInfo("slow", "1", True, False, False, 1)

    def __init__(self) -> None:
        self.release = threading.Event()
        self.working = threading.Semaphore(0)
        self.ended: list[str] = []

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self.working.release()
        try:
            while not self.release.wait(0.01):
                cancellation.check()
        except RequestCancelled:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return torch.zeros(len(images), dtype=torch.float64)


class Broken:
    info = ScorerInfo("broken", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        raise RuntimeError("/secret/path/model.bin is corrupt")


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    outcome: list[object] = []

    def body() -> None:
        try:
            outcome.append(work())
        except RankSRGANError as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, outcome


class Catalog:
    """Scorers by name."""

    def __init__(self, **scorers: Scorer) -> None:
        self._scorers = scorers

    def infos(self) -> list[ScorerInfo]:
        return [replace(scorer.info, name=name) for name, scorer in self._scorers.items()]

    def open(self, name: str) -> Scorer:
        if name not in self._scorers:
            raise UnknownName(f"no scorer {name!r}; there is {', '.join(self._scorers)}")
        return self._scorers[name]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers that are stopped after the test."""
    running: list[RunningServer] = []

    def start_one(
        *servicers: Servicer,
        address: str = "127.0.0.1:0",
        limits: ServerLimits | None = None,
        observers: Sequence[Observer] = (),
    ) -> RunningServer:
        running.append(start_server(address, servicers, limits, observers=observers))
        return running[-1]

    yield start_one
    for server in running:
        server.stop()
