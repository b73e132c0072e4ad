"""The process of a job: ``python -m ranksrgan.PACKAGE.job FOLDER``, which calls `run_job`.

It is started by a `Supervisor`, outlives it if it has to, and leaves its outcome in the folder.
SIGTERM stops it in good order: what `cancellation.check` and `interruption.stop_requested` tell the
work, or KeyboardInterrupt after its state is saved, as our trainings do. The job is then not done,
and another process goes on with it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ranksrgan.contracts import cancellation, heaps
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InternalError, RankSRGANError
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.operations.jobs import JobError, JobFolder, JobLock, JobOutcome

#: Environment variable with the number of the open lock file that a supervisor hands over.
LOCK_HANDLE = "RANKSRGAN_JOB_LOCK"
#: Seconds between two reports that are written down.
REPORT_EVERY = 0.5

log = logging.getLogger(__name__)


class JobContext:
    """What the work knows of its job.

    Attributes:
        target: the name of what is to be made.
        request: as the service has put it; JSON.
        root: where names are looked up.
    """

    def __init__(self, folder: JobFolder, root: DataRoot) -> None:
        request = folder.request()
        self.target = request.target
        self.request = request.request
        self.root = root
        self._folder = folder
        self._first: tuple[float, int] | None = None
        self._written = -REPORT_EVERY
        self._unwritten: dict[str, Any] | None = None

    def report(self, done: int, total: int, **facts: Any) -> None:
        """Say how far the work is, as often as convenient.

        The progress that readers see has ``done``, ``total``, ``pace`` (seconds for each of
        ``done`` since this process's first report; None while there is none), ``eta`` (seconds for
        the rest at this pace) and ``facts``, all of them JSON.
        """
        now = time.monotonic()
        self._first = self._first or (now, done)
        begun, before = self._first
        pace = (now - begun) / (done - before) if done > before else None
        eta = None if pace is None else (total - done) * pace
        self._unwritten = {**facts, "done": done, "total": total, "pace": pace, "eta": eta}
        if now - self._written >= REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the last report down if it is not."""
        if self._unwritten is None:
            return
        self._written = time.monotonic()
        try:
            self._folder.write_progress(self._unwritten)
        except OSError:
            log.exception("the progress cannot be written; the work goes on")
        self._unwritten = None


#: Does the work; returns the result, JSON. What is wrong with the request is a `RankSRGANError`.
Work = Callable[[JobContext], dict[str, Any]]


def run_job(folder: Path, work: Work) -> int:
    """Do the work of the job in ``folder`` and write down how it ended.

    An error of ours becomes the job's error, with file names as clients know them. Of any other the
    job's error has only a number, under which the traceback is in ``job.log``.

    Returns:
        An exit code: 0 if the job is done, 1 if it is not.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    heaps.keep_for_a_command()
    gc.freeze()  # modules: the collector would look through them again and again
    job = JobFolder(folder.resolve())
    lock = _lock(job)
    if lock is None:
        log.error("another process works on %s", folder)
        return 1
    lock.claim()
    if job.outcome() is not None:
        return 0
    with stop_requested() as stopping, cancellation.scope(lambda: not stopping()):
        outcome = _outcome(job, work, stopping)
    if outcome is None:
        log.info("stopped; another process goes on with it")
        lock.claim(stopped=True)
        return 1
    job.write_outcome(outcome)
    return 0


def _outcome(job: JobFolder, work: Work, stopping: Callable[[], bool]) -> JobOutcome | None:
    """Work, and how it ended; None if it was stopped before it was done."""
    try:
        root = DataRoot(job.path.parents[1])
        with root.hiding_paths():
            context = JobContext(job, root)
            try:
                result = work(context)
            finally:
                context.flush()
        # What is no JSON is a mistake in the work, and is told as such.
        return JobOutcome(ended=time.time(), result=json.loads(json.dumps(result)))
    except KeyboardInterrupt:
        return None
    except Exception as error:
        # Of work that is being stopped, one cannot tell whether it would have failed.
        if stopping():
            log.info("stopping: %r", error)
            return None
        log.exception("the job failed")
        return JobOutcome(ended=time.time(), error=JobError.of(_public(error)))


def _public(error: Exception) -> RankSRGANError:
    if isinstance(error, RankSRGANError):
        return error
    incident = uuid.uuid4().hex[:12]
    log.error("the failure above is incident %s", incident)
    return InternalError(f"the job failed; its log has incident {incident}")


def _lock(job: JobFolder) -> JobLock | None:
    """The lock that the supervisor has handed over; taken here where a person started the job."""
    handle = os.environ.pop(LOCK_HANDLE, None)
    if handle is None:
        return job.lock()
    os.set_inheritable(int(handle), False)
    return JobLock(int(handle))
