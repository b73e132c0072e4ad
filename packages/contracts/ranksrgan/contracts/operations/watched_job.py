"""One job as its supervisor has it: the folder, and the process that works on it, if there is one.

    queued  --start-->  working  --outcome, lock free-->  done
       ^                   |
       +--- lock free, no outcome: stopped in good order, or died and may try again

Whether a process works is asked of the lock alone, which holds for processes that another
supervisor has started too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ranksrgan.contracts.errors import InternalError, RankSRGANError, RequestCancelled
from ranksrgan.contracts.operations.job_process import LOCK_HANDLE
from ranksrgan.contracts.operations.jobs import (
    OPERATIONS,
    JobError,
    JobFolder,
    JobLock,
    JobOutcome,
    JobPhase,
)

#: Seconds from SIGTERM to SIGKILL for a cancelled job, so that it is done within one.
CANCEL_GRACE = 0.7
#: Seconds that a process may take to end after it has written its outcome.
LINGER = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobReport:
    """A job at one moment.

    Attributes:
        id: its name without ``operations/``.
        kind, target: see `JobRequest`.
        phase: where it is.
        created, started, ended: seconds since 1970; None if it has not.
        attempts: processes that were started for it.
        progress: as `JobContext.report` has it; empty before the first.
        result: of a job that succeeded.
        error: of one that failed or was cancelled.
    """

    id: str
    kind: str
    target: str
    phase: JobPhase
    created: float
    started: float | None
    ended: float | None
    attempts: int
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: RankSRGANError | None

    @property
    def done(self) -> bool:
        return self.phase not in (JobPhase.QUEUED, JobPhase.RUNNING)


class WatchedJob:
    """A job and its process. Not for two threads at a time.

    Args:
        folder: of the job.
        module: what to run: ``python -m MODULE FOLDER``.
        max_deaths: processes that may end without a word before the job ends with an error.

    Raises:
        InternalError: the folder is damaged.
    """

    def __init__(self, folder: JobFolder, module: str, max_deaths: int) -> None:
        self.folder = folder
        self.request = folder.request()
        self._state = folder.state()
        self._outcome = folder.outcome()
        self._module = module
        self._max_deaths = max_deaths
        self._child: subprocess.Popen[bytes] | None = None
        # When the process that is to end is killed, on the monotonic clock.
        self._kill_at: float | None = None

    @property
    def id(self) -> str:
        return self.folder.path.name

    @property
    def done(self) -> bool:
        return self._outcome is not None

    @property
    def working(self) -> bool:
        """A process works on it, or was not seen to end; perhaps it is done and about to."""
        return self._state.running

    @property
    def cancelled(self) -> bool:
        """Nobody wants the result any more."""
        return self._state.cancel

    @property
    def ending(self) -> bool:
        """Its process is to end."""
        return self.working and self._kill_at is not None

    def cancel(self) -> None:
        """Have it be done soon, with the error `RequestCancelled`; nothing if it is done."""
        if not self.done and not self.cancelled:
            self._set_state(cancel=True)
            self._kill_at = None  # sooner than the supervisor's own end would have it

    def see_to(self, stop_by: float | None) -> None:
        """Start it if nobody works on it, or see what became of who did.

        Args:
            stop_by: when the supervisor ends, on the monotonic clock; None while it goes on.

        Raises:
            OSError: the folder cannot be written, or no process started. It may be tried again.
        """
        self._read_outcome()
        lock = self.folder.lock()
        if lock is None:
            if not self.working:  # a person has started it by hand
                self._set_state(running=True)
            self._urge(stop_by)
            return
        try:
            if self.working:
                self._close(stopping=stop_by is not None)
            elif self.cancelled:
                self._end(RequestCancelled(f"{OPERATIONS}/{self.id} was cancelled"))
            elif not self.done and stop_by is None:
                self._start(lock)
        finally:
            lock.release()

    def forget_process(self) -> None:
        """The job is done, and its process has nothing more to do."""
        if self._child is not None:
            _kill_group(self._child.pid)
            self._child.wait()

    def report(self) -> JobReport:
        """The job at this moment. Raises InternalError: its progress is damaged."""
        outcome = self._outcome
        if outcome is not None:
            phase = outcome.phase
        else:
            phase = JobPhase.RUNNING if self.working else JobPhase.QUEUED
        return JobReport(
            id=self.id,
            kind=self.request.kind,
            target=self.request.target,
            phase=phase,
            created=self.request.created,
            started=self._state.started,
            ended=outcome.ended if outcome else None,
            attempts=self._state.attempts,
            progress=self.folder.progress(),
            result=outcome.result if outcome else None,
            error=outcome.error.restore() if outcome and outcome.error else None,
        )

    def _start(self, lock: JobLock) -> None:
        lock.clear()
        before = self._state
        self._set_state(
            attempts=before.attempts + 1,
            running=True,
            started=before.started or time.time(),
        )
        try:
            with self.folder.log.open("ab") as written:
                self._child = subprocess.Popen(
                    # -P: what lies in the current folder is no module.
                    [sys.executable, "-P", "-m", self._module, str(self.folder.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    env={**os.environ, LOCK_HANDLE: str(lock.handle)},
                    pass_fds=[lock.handle],
                    start_new_session=True,
                )
        except OSError:  # want of processes or of room, say: none was there that could have died
            self._state = before
            self.folder.write_state(before)
            raise

    def _urge(self, stop_by: float | None) -> None:
        """Have a process end that works but should not: SIGTERM first, SIGKILL later."""
        pid = self.folder.holder().pid if self._child is None else self._child.pid
        if pid is None:
            return
        ended = not _exists(pid) if self._child is None else self._child.poll() is not None
        if ended:  # its own children have outlived it, and hold the lock
            _kill_group(pid)
            return
        now = time.monotonic()
        if self.done:
            grace = LINGER
        elif self.cancelled:
            grace = CANCEL_GRACE
        elif stop_by is not None:
            grace = stop_by - now
        else:
            return
        if self._kill_at is None:
            self._kill_at = now + grace
            if not self.done:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        elif now >= self._kill_at:
            _kill_group(pid)

    def _close(self, *, stopping: bool) -> None:
        """The process has ended: is the job done, or does it go on?"""
        if self._child is not None:
            if self._child.returncode is None:
                _kill_group(self._child.pid)  # what it has started and left behind
            self._child.wait()
            self._child = None
        self._read_outcome()
        deaths = self._state.deaths
        if not self.done and self.cancelled:
            self._end(RequestCancelled(f"{OPERATIONS}/{self.id} was cancelled"))
        elif not self.done and not stopping and not self.folder.holder().stopped:
            deaths += 1
            log.warning("the process of %s ended without a word, %d time(s)", self.id, deaths)
            if deaths >= self._max_deaths:
                self._end(
                    InternalError(
                        f"the process of {OPERATIONS}/{self.id} ended without a word {deaths} "
                        "times, killed for want of memory perhaps; its log has what it wrote"
                    )
                )
        self._kill_at = None
        self._set_state(running=False, deaths=deaths)

    def _end(self, error: RankSRGANError) -> None:
        self.folder.write_outcome(JobOutcome(ended=time.time(), error=JobError.of(error)))
        self._read_outcome()

    def _read_outcome(self) -> None:
        if self._outcome is None:
            self._outcome = self.folder.outcome()
            if self._outcome is not None:
                log.info("%s: %s", self.id, self._outcome.phase.value)

    def _set_state(self, **changes: Any) -> None:
        state = self._state.model_copy(update=changes)
        self.folder.write_state(state)
        self._state = state


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
