"""Jobs watched from a command line, against operations that do as they are told."""

from __future__ import annotations

import argparse
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ranksrgan.contracts.clients import operations as operations_client
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.errors import (
    InvalidDataset,
    InvalidInput,
    RankSRGANError,
    RequestCancelled,
)
from ranksrgan.contracts.follow import (
    JobView,
    Progress,
    add_actions,
    add_wanted,
    cancel,
    follow,
    wanted_id,
)

NAME = "operations/trial-000001-00000000"
VIEW = JobView(
    unit="step",
    progress=lambda seen: Progress(seen.done, 8, note="loss=1", news=seen.news),
    result=lambda made: f"made {made}",
    program="ranksrgan-trial",
)


class Operation:
    """Goes through reports, one each time somebody waits, and ends with a result or an error."""

    name = NAME
    address = "unix:s.sock"

    def __init__(self, *reports: Any, ends: object = "it") -> None:
        self._reports = list(reports)
        self._now: Any = None
        self._ends = ends
        self.cancelled = False

    def wait(self, timeout: float | None = None) -> bool:
        self._now = self._reports.pop(0)
        if isinstance(self._now, BaseException):
            raise self._now
        return not self._reports

    def progress(self) -> Any:
        return self._now

    def cancel(self) -> None:
        self.cancelled = True

    def result(self) -> object:
        if isinstance(self._ends, RankSRGANError):
            raise self._ends
        return self._ends


def at(done: int, news: str = "") -> SimpleNamespace:
    return SimpleNamespace(done=done, news=news)


def shown(operation: Operation) -> int:
    return follow(cast(RemoteOperation, operation), VIEW)


def test_the_name_comes_first_then_news_and_the_result(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reports = [at(0), at(2, "first"), at(3, "first"), at(4), at(8, "second")]
    assert shown(Operation(*reports)) == 0
    assert capsys.readouterr().out == f"{NAME}\nmade it\n"
    assert [record.getMessage() for record in caplog.records] == ["first", "second"]


def test_what_ended_the_job_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidDataset, match="no crop is left"):
        shown(Operation(at(1), ends=InvalidDataset("no crop is left")))
    assert capsys.readouterr().out == f"{NAME}\n"


def test_an_interruption_ends_the_watching_alone(capsys: pytest.CaptureFixture[str]) -> None:
    operation = Operation(at(1), KeyboardInterrupt())
    assert shown(operation) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [
        "the work goes on; watch it or end it with",
        f"  ranksrgan-trial remote watch|cancel unix:s.sock {NAME}",
    ]
    assert not operation.cancelled


@pytest.mark.parametrize(
    ("ends", "says"), [(RequestCancelled("it was"), "is cancelled"), ("it", "was done already")]
)
def test_cancel(ends: object, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    operation = Operation(ends=ends)
    assert cancel(cast(RemoteOperation, operation)) == 0
    assert operation.cancelled
    assert capsys.readouterr().out == f"{NAME} {says}\n"


def test_actions_connect_and_follow_or_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    operation = Operation(at(8), ends="it")

    def connect(address: str, name: str, *, retry_for: float) -> Operation:
        asked.append((address, name))
        return operation

    monkeypatch.setattr(operations_client, "connect_operation", connect)
    parser = argparse.ArgumentParser()
    add_actions(parser.add_subparsers(), VIEW, "a trial")
    for action in ("watch", "cancel"):
        arguments = parser.parse_args([action, "unix:s.sock", NAME])
        assert arguments.command(arguments) == 0
    assert asked == [("unix:s.sock", NAME)] * 2
    assert operation.cancelled


def test_what_is_wanted_is_named_with_its_kind() -> None:
    parser = argparse.ArgumentParser()
    add_wanted(parser, "trials", "of the trial")
    arguments = parser.parse_args(["--at", "unix:s.sock", "-o", "trials/one"])
    assert (arguments.at, wanted_id(arguments)) == ("unix:s.sock", "one")
    for other in ("one", "trials", "trials/", "trials/..", "others/one", "trials/a/b"):
        with pytest.raises(InvalidInput, match="is not of the form trials/NAME") as caught:
            wanted_id(parser.parse_args(["--at", "unix:s.sock", "-o", other]))
        assert caught.value.field == "output"
