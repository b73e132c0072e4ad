"""The commands that ask a server, against a small one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from ranksrgan.contracts.errors import (
    InvalidDataset,
    RankSRGANError,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.contracts.operations.jobs import JobPhase
from ranksrgan.contracts.operations.rank_data_service import BUILD_OPERATION, RankDataServicer
from ranksrgan.contracts.operations.servicer import OperationsServicer
from ranksrgan.contracts.operations.supervisor import Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.rpc import start_server
from ranksrgan.rankdata.cli import main
from tests.contracts.rank_data import Builder, Shelf

ID = "rankdata-000001-00000000"


class Jobs(Builder):
    """One job; each time somebody waits for it, it is at the next of its reports."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[JobReport] = []

    def wait(self, job_id: str, *ignored: object) -> JobReport:
        self.get(job_id)
        if self.later:
            self.report = self.later.pop(0)
        return self.report

    def get(self, job_id: str) -> JobReport:
        if job_id != ID:
            raise UnknownName(f"there is no operations/{job_id}", field="name")
        return self.report

    def cancel(self, job_id: str) -> None:
        self.later = [self.ended(RequestCancelled("it was cancelled"))]

    def ended(self, error: RankSRGANError | None = None) -> JobReport:
        if error is not None:
            return replace(self.report, phase=JobPhase.FAILED, error=error)
        info = Shelf().info("datasets/new")
        return replace(self.report, phase=JobPhase.SUCCEEDED, result=info.model_dump(mode="json"))


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def address(jobs: Jobs) -> Iterator[str]:
    operations = OperationsServicer(cast(Supervisor, jobs), {"BuildRankDataset": BUILD_OPERATION})
    servicer = RankDataServicer(Shelf(), jobs, operations)
    server = start_server("127.0.0.1:0", [servicer, operations])
    yield server.address
    server.stop()


def asking(address: str, name: str = "new") -> list[str]:
    return ["remote", "build", "--at", address, "-o", f"datasets/{name}"]


def test_list_and_get(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remote", "list", address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"datasets/{letter}" for letter in "abcde"]
    assert lines[0].endswith("3 crops in train, niqe")
    assert main(["remote", "get", address, "datasets/b"]) == 0
    text = capsys.readouterr().out
    assert "name: datasets/b\nmetric: niqe\n" in text
    assert "levels: low, high\nsources: train 2\ncontents: train 3\ndropped: odd 1\n" in text
    assert main(["remote", "get", address, "b"]) == 1
    assert "dataset: 'b' is not of the form datasets/NAME" in capsys.readouterr().err


def test_a_build_is_asked_for_and_followed(
    address: str, jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    halfway = replace(jobs.report, progress={"done": 4, "total": 8, "source": "x", "eta": 1.0})
    jobs.later = [halfway, jobs.ended()]
    recipe = tmp_path / "build.yaml"
    recipe.write_text("hr: images/faces\noutput: elsewhere\nlevels: {z: models/srgan, a: hr}\n")
    command = [*asking(address), "crop=64", "levels.b=hr", "--recipe", str(recipe)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out == f"operations/{ID}\ndatasets/new: 3 crops, low, high\n"
    ((dataset, config, request_id),) = jobs.requests
    assert dataset == "new"
    assert config == {
        "hr": "images/faces",
        "levels": ["z=models/srgan", "a=hr", "b=hr"],
        "crop": 64,
    }
    assert request_id


def test_no_command_builds_from_a_file_that_wants_objects(
    address: str, jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "hr: images/faces\noutput: out\nlevels: {a: sr, hr: hr}\nmetric: own\nlabel: metric\n"
        "given: [metric, levels.a]\n"
    )
    for command in (asking(address), ["build"]):
        assert main([*command, "--recipe", str(file)]) == 1
        assert "scorer=..., the scorer own and upscalers={'a': ...}" in capsys.readouterr().err
    assert jobs.requests == []


@pytest.mark.parametrize("name", ["2024", "true", "null"])
def test_names_that_yaml_would_take_for_something_else(
    address: str, jobs: Jobs, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.later = [jobs.ended()]
    command = [*asking(address, name), "hr=images/a", "levels.a=hr", "levels.b=bicubic"]
    assert main(command) == 0, capsys.readouterr().err
    assert jobs.requests[0][0] == name


def test_a_build_that_fails(address: str, jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.later = [jobs.ended(InvalidDataset("no crop is left"))]
    command = [*asking(address), "hr=images/a", "levels.a=hr", "levels.b=bicubic"]
    assert main(command) == 1
    assert "error: no crop is left" in capsys.readouterr().err


def test_watch_and_cancel(address: str, jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"operations/{ID}"
    assert main(["remote", "cancel", address, name]) == 0
    assert main(["remote", "watch", address, name]) == 1
    assert "error: it was cancelled" in capsys.readouterr().err
    assert main(["remote", "watch", address, "operations/rankdata-000002-00000000"]) == 1
    assert "there is no operations/rankdata-000002-00000000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["crop=64"],
        ["hr=images/a", "levels.a=hr"],
        ["--recipe", "no-such-recipe"],
        ["hr=images/a", "levels.a=hr", "levels.b=bicubic", "-o", "new"],
    ],
)
def test_what_is_no_configuration_is_not_sent(
    address: str, jobs: Jobs, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asking(address), *wrong]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert jobs.requests == []
