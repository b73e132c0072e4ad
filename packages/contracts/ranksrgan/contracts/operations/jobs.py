"""Long work on disk: what was asked for, how far it is, and how it ended.

A job is a folder, ``operations/SERVICE-NUMBER-RANDOM`` in the data root:

    request.json    JobRequest; there from the beginning and never changed
    state.json      JobState; the supervisor's
    progress.json   what the work reports; the process's
    outcome.json    JobOutcome; the job is done when it is there
    lock            held (flock) while a process works on the job; tells which one
    job.log         what the process wrote to stdout and stderr

Every file is written whole or not at all. Only who holds the lock writes the outcome, so that a
process and a supervisor never disagree on how a job ended; and as the kernel gives the lock back
whichever way a process ends, a supervisor that was started anew sees who is still at work.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import BY_CODE, InternalError, RankSRGANError, RequestCancelled

#: The folder of all jobs in a data root, and the first part of their names.
OPERATIONS = "operations"

_REQUEST, _STATE, _PROGRESS, _OUTCOME = (
    f"{name}.json" for name in ("request", "state", "progress", "outcome")
)
_LOCK = "lock"
_LOG = "job.log"
_STOPPED = "stopped"
_ID = re.compile(r"[a-z]+-[0-9]{6,12}-[0-9a-f]{8}")


Content = TypeVar("Content", bound=Config)


class JobPhase(Enum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobRequest(Config):
    """What was asked for.

    Attributes:
        kind: which work it is, a name that the service knows ("TrainRanker").
        target: the name of what is made ("rankers/faces").
        request: for the work; JSON. What the client asked for, and what the service put beside it.
        request_id: the client's own name for the request, or empty.
        created: seconds since 1970.
        client: who has asked for it; empty if the server did not know.
    """

    kind: str
    target: str
    request: dict[str, Any]
    request_id: str
    created: float
    client: str = ""


class JobState(Config):
    """What the supervisor knows.

    Attributes:
        attempts: processes that were started.
        deaths: those of them that ended without a word.
        running: the last of them has not been seen to end.
        cancel: nobody wants the result any more.
        started: when the first attempt was; seconds since 1970.
    """

    attempts: int = 0
    deaths: int = 0
    running: bool = False
    cancel: bool = False
    started: float | None = None


class JobError(Config):
    """An error of `ranksrgan.contracts.errors`, on disk."""

    code: str
    message: str
    field: str | None

    @classmethod
    def of(cls, error: RankSRGANError) -> Self:
        return cls(code=error.code, message=error.message, field=error.field)

    def restore(self) -> RankSRGANError:
        """The error again, of its class."""
        return BY_CODE.get(self.code, InternalError)(self.message, field=self.field)


class JobOutcome(Config):
    """How a job ended: with a result (JSON) or with an error.

    Attributes:
        ended: seconds since 1970.
    """

    ended: float
    result: dict[str, Any] | None = None
    error: JobError | None = None

    @property
    def phase(self) -> JobPhase:
        if self.error is None:
            return JobPhase.SUCCEEDED
        cancelled = self.error.code == RequestCancelled.code
        return JobPhase.CANCELLED if cancelled else JobPhase.FAILED


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        return self.path / _LOG

    def request(self) -> JobRequest:
        """Raises InternalError: missing or damaged."""
        request = self._read(_REQUEST, JobRequest)
        if request is None:
            raise InternalError(f"{self.path} has no {_REQUEST}", field=str(self.path))
        return request

    def write_request(self, request: JobRequest) -> None:
        self._write(_REQUEST, request.model_dump())

    def state(self) -> JobState:
        """Raises InternalError: damaged."""
        return self._read(_STATE, JobState) or JobState()

    def write_state(self, state: JobState) -> None:
        self._write(_STATE, state.model_dump())

    def outcome(self) -> JobOutcome | None:
        """None until the job is done. Raises InternalError: damaged."""
        return self._read(_OUTCOME, JobOutcome)

    def write_outcome(self, outcome: JobOutcome) -> None:
        """Only for who holds the lock."""
        self._write(_OUTCOME, outcome.model_dump())

    def progress(self) -> dict[str, Any]:
        """What was reported last; empty before that."""
        content = self._load(_PROGRESS)
        return content if isinstance(content, dict) else {}

    def write_progress(self, progress: dict[str, Any]) -> None:
        self._write(_PROGRESS, progress)

    def lock(self) -> JobLock | None:
        """Take the lock; None if somebody has it."""
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return JobLock(handle)

    def holder(self) -> Holder:
        """Who holds the lock, or has held it last."""
        try:
            pid, _, word = (self.path / _LOCK).read_text().partition(" ")
        except FileNotFoundError:
            pid = word = ""
        # While a process writes its own, there may be nothing; who cannot be read is nobody.
        return Holder(int(pid) if pid.isdecimal() else None, word == _STOPPED)

    def _read(self, name: str, model: type[Content]) -> Content | None:
        content = self._load(name)
        if content is None:
            return None
        try:
            return model.model_validate(content)
        except ValidationError as error:
            path = self.path / name
            raise InternalError(f"{path} is damaged: {error}", field=str(path)) from error

    def _load(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InternalError(f"{path} is damaged: {error}", field=str(path)) from error

    def _write(self, name: str, content: dict[str, Any]) -> None:
        atomic.write_text(self.path / name, json.dumps(content, indent=1))


class Holder(NamedTuple):
    """Who works on a job.

    Attributes:
        pid: of the process, which leads a process group; None if it has not come so far.
        stopped: it has ended, or is about to, in good order and without being done.
    """

    pid: int | None
    stopped: bool


class JobLock:
    """A job's lock, held. A child process that inherits ``handle`` holds it too: the lock is free
    when the last of them has closed it or ended."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def clear(self) -> None:
        """Nobody works on the job yet."""
        os.ftruncate(self.handle, 0)

    def claim(self, *, stopped: bool = False) -> None:
        """This process does, or has done and stops."""
        line = f"{os.getpid()}{f' {_STOPPED}' if stopped else ''}".encode()
        os.pwrite(self.handle, line, 0)
        os.ftruncate(self.handle, len(line))  # a longer one may have been there

    def release(self) -> None:
        os.close(self.handle)


def is_job_id(text: str) -> bool:
    """Whether a job could have that id; such a text is a safe name of a file."""
    return _ID.fullmatch(text) is not None


def job_number(job_id: str) -> int:
    """Jobs of one service are numbered in the order in which they were asked for."""
    return int(job_id.split("-")[1])
