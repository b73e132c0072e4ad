"""A data root with trial jobs (`trial_job`) in it, and supervisors for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 120.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Trials:
    """What a test does with jobs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        places = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(":")]
        monkeypatch.setenv("PYTHONPATH", ":".join(place for place in places if place))
        self.root = DataRoot(folder)
        self._supervisors: list[Supervisor] = []

    def supervisor(self, limits: JobLimits | None = None) -> Supervisor:
        """One that is not started; it is stopped after the test."""
        self._supervisors.append(Supervisor(self.root, "trial", {"Count": "trial_job"}, limits))
        return self._supervisors[-1]

    def start(self, limits: JobLimits | None = None) -> Supervisor:
        supervisor = self.supervisor(limits)
        supervisor.start()
        return supervisor

    def stop(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop()

    @property
    def trace(self) -> list[str]:
        """What the processes have done, in order."""
        path = self.root.folder / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self, target: str) -> list[int]:
        """Of the processes that have worked on it."""
        return [int(line.split()[2]) for line in self.trace if line.startswith(f"{target} begin")]

    def counts(self, target: str) -> list[int]:
        """What they have counted."""
        return [int(line.split()[2]) for line in self.trace if line.startswith(f"{target} count")]

    def until_traced(self, line: str) -> None:
        until(lambda: line in self.trace)

    def until_begun(self, target: str, times: int = 1) -> int:
        """Wait for a process, and return its pid."""
        until(lambda: len(self.pids(target)) >= times)
        return self.pids(target)[-1]

    def open_gate(self) -> None:
        (self.root.folder / "open").touch()


def finished(supervisor: Supervisor, job: JobReport) -> JobReport:
    """The job when it is done."""
    report = supervisor.wait(job.id, PATIENCE, lambda: True)
    assert report.done
    return report


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, whom nobody has buried yet, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
