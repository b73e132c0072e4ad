"""Builds as operations of a real server, which is stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts import open_pair_source
from ranksrgan.contracts.clients.operations import RemoteOperation, connect_operation
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, RequestCancelled
from ranksrgan.contracts.images import Picture
from ranksrgan.contracts.operations.jobs import JobFolder
from ranksrgan.contracts.rpc import check_health, start_server
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.contracts.v1 import job_pb2, rank_data_pb2
from ranksrgan.rankdata import BuildConfig, RankDataset, build
from tests.contracts.trials import is_alive
from tests.rankdata.served import PATIENCE, Gate, Gates, ServerProcess

pytestmark = pytest.mark.timeout(4 * PATIENCE)

CONFIG: dict[str, Any] = {
    "hr": "images/faces",
    "levels": ["blurred=blur:1.5", "hr=hr"],
    "metric": "rmse",
    "further": ["gmsd?border=4"],
    "crop": 48,
    "stride": 24,
    "val": 0.25,
}
GATED = {**CONFIG, "levels": ["gated=gate", "hr=hr"]}

StartServer = Callable[..., ServerProcess]


@pytest.fixture
def root(hr: Path) -> Path:
    """A data root with four photographs, ``images/faces``."""
    folder = hr.parent / "root"
    (folder / "images").mkdir(parents=True)
    hr.rename(folder / "images" / "faces")
    return folder


@pytest.fixture
def start(root: Path) -> Iterator[StartServer]:
    """Starts a server with flags; it is stopped after the test."""
    started: list[ServerProcess] = []

    def start_one(*flags: str) -> ServerProcess:
        started.append(ServerProcess(root, *flags))
        started[-1].start()
        return started[-1]

    yield start_one
    for server in started:
        if server.running:
            server.end(signal.SIGTERM)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Lets the first two images through. Served as ``gate`` on a socket of its own."""
    gate = Gate(shut_at=2)

    def render(picture: Picture, upscaler: Upscaler) -> Picture:
        raise NotImplementedError

    address = f"unix:{tmp_path}/gate.sock"
    server = start_server(address, [SuperResolutionServicer(Gates(gate), render)])
    yield gate
    gate.opened.set()
    server.stop()


@pytest.fixture
def gated(start: StartServer, gate: Gate, tmp_path: Path) -> ServerProcess:
    """A server whose operator knows the gate."""
    return start("--upscaler", f"gate=unix://{tmp_path}/gate.sock/gate")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def local(root: Path, config: dict[str, Any], output: Path, **levels: str) -> RankDataset:
    """The dataset that the same configuration makes without a service."""
    specs = dict(level.split("=") for level in config["levels"]) | levels
    paths = {"hr": root / config["hr"], "levels": specs, "output": output}
    build(BuildConfig.model_validate({**config, **paths}))
    return RankDataset.open(output)


def test_a_build_is_watched_and_read(start: StartServer, root: Path, tmp_path: Path) -> None:
    server = start()
    client = server.client()
    operation = client.build("faces", CONFIG, request_id="once")
    assert isinstance(operation.progress(), rank_data_pb2.BuildRankDatasetMetadata)
    seen = []
    while not operation.wait(0.2):
        seen.append(operation.progress().steps_done)
    assert seen == sorted(seen)
    result = operation.result()
    assert isinstance(result, rank_data_pb2.RankDataset)
    done = operation.progress()
    assert (done.dataset, done.job.state) == ("datasets/faces", job_pb2.JOB_STATE_SUCCEEDED)
    assert (done.steps_done, done.steps_total) == (8, 8)
    assert done.source in {"astronaut", "chelsea", "coffee", "rocket"}
    assert done.eta.ToTimedelta().total_seconds() == 0

    expected = local(root, CONFIG, tmp_path / "local")
    info = client.info("faces")
    assert list(client.infos()) == [info]
    assert (result.name, result.crop) == (info.name, info.crop) == ("datasets/faces", 48)
    assert dict(result.contents) == info.contents
    assert (info.metric, info.higher_is_better) == ("rmse", False)
    assert (info.levels, info.further) == (("blurred", "hr"), {"gmsd?border=4": False})
    assert info.sources == {"train": 3, "val": 1}
    assert sum(info.contents.values()) == len(expected.contents)
    remote = open_pair_source(f"unix://{root}/rankdata.sock/faces?split=train")
    theirs = open_pair_source(str(tmp_path / "local"), split="train")
    assert remote.info == theirs.info
    for ours, wanted in zip(remote.contents(), theirs.contents(), strict=True):
        assert torch.equal(ours.images, wanted.images)
        assert torch.equal(ours.scores, wanted.scores)

    # The same request again, and the same dataset by another one, make nothing new.
    assert client.build("faces", CONFIG, request_id="once").name == operation.name
    assert client.build("faces", CONFIG).result(PATIENCE) == result
    with pytest.raises(InvalidInput, match=r"another dataset \(crop: 48 there, 32 now\)") as caught:
        client.build("faces", {**CONFIG, "crop": 32})
    assert caught.value.field == "dataset_id"
    # What only the work finds out arrives as its error.
    with pytest.raises(InvalidDataset, match="smaller than a crop"):
        client.build("other", {**CONFIG, "crop": 500}).result(PATIENCE)
    assert list(client.infos()) == [info]


def test_a_cancelled_build_ends_and_another_goes_on_from_it(
    gated: ServerProcess, gate: Gate, root: Path
) -> None:
    client = gated.client()
    operation = client.build("faces", GATED)
    until(lambda: gate.calls == 3)
    with pytest.raises(InvalidInput, match="makes datasets/faces already"):
        client.build("faces", GATED)
    operation.cancel()
    with pytest.raises(RequestCancelled):
        operation.result(PATIENCE)
    assert operation.progress().job.state == job_pb2.JOB_STATE_CANCELLED
    assert list(client.infos()) == []
    gate.opened.set()
    assert client.build("faces", GATED).result(PATIENCE).sources == {"train": 3, "val": 1}
    # Four images, and the one again that was not finished.
    assert gate.calls == 5
    # What was given up with other settings is in nobody's way.
    gate.opened.clear()
    given_up = client.build("again", GATED)
    until(lambda: gate.calls == 6)
    given_up.cancel()
    given_up.wait(PATIENCE)
    gate.opened.set()
    assert client.build("again", {**GATED, "crop": 40}).result(PATIENCE).crop == 40


@pytest.mark.parametrize(
    "with_the_build",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["server", "server-and-build"],
)
def test_a_build_outlives_a_killed_server(
    gated: ServerProcess, gate: Gate, root: Path, tmp_path: Path, with_the_build: bool
) -> None:
    operation = gated.client().build("faces", GATED)
    until(lambda: gate.calls == 3)
    gated.end(signal.SIGKILL)
    if with_the_build:
        pid = builder_of(root, operation)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))
    gate.opened.set()
    gated.start()
    result = connect_operation(gated.address, operation.name, retry_for=PATIENCE).result(PATIENCE)
    assert result.name == "datasets/faces"
    assert gate.calls == (5 if with_the_build else 4)
    assert operation.progress().job.attempts == (2 if with_the_build else 1)
    made = RankDataset.open(root / "datasets" / "faces", check_hashes=True)
    expected = local(root, GATED, tmp_path / "local", gated=f"unix://{tmp_path}/gate.sock/gate")
    assert made.fingerprint(made.contents) == expected.fingerprint(expected.contents)


@pytest.mark.slow  # as one that is killed
def test_a_build_outlives_a_stopped_server(gated: ServerProcess, gate: Gate) -> None:
    operation = gated.client().build("faces", GATED)
    until(lambda: gate.calls == 3)
    gated.signal(signal.SIGTERM)
    until(lambda: not check_health(gated.address))
    gate.opened.set()  # what is at work gets time to finish
    gated.wait()
    gated.start()
    assert operation.result(PATIENCE).name == "datasets/faces"
    assert gate.calls in (4, 5)


def builder_of(root: Path, operation: RemoteOperation) -> int:
    """The process that builds; the operation's folder is where its name says."""
    pid = JobFolder(root / operation.name).holder().pid
    assert pid is not None
    return pid
