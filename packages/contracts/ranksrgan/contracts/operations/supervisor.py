"""Runs the jobs of one service, each in a process of its own, some at a time and in order.

A process needs neither the client nor the supervisor to go on: a supervisor that is started anew
adopts the jobs whose lock is held, and starts those again that nobody works on and that are not
done. What it starts again must be able to go on from what it finds; our builds and trainings are.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import (
    AddressInUse,
    Forbidden,
    InternalError,
    InvalidInput,
    Overloaded,
    UnknownName,
)
from ranksrgan.contracts.operations.jobs import (
    OPERATIONS,
    JobFolder,
    JobLock,
    JobRequest,
    is_job_id,
    job_number,
)
from ranksrgan.contracts.operations.watched_job import LINGER, JobReport, WatchedJob
from ranksrgan.contracts.serving.caller import CALLER

#: Seconds between two looks at the processes; and while one of them is to end.
_LOOK_EVERY, _LOOK_CLOSELY_EVERY = 0.1, 0.03

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobLimits:
    """What a supervisor takes on.

    Attributes:
        running: jobs that are worked on at a time.
        queue: jobs that may wait for that; the next one is refused with `Overloaded`.
        deaths: how many processes of one job may end without a word (killed by hand or for want of
            memory, a machine that went down) before the job ends with an error. Those that stop in
            good order do not count.
        each: jobs of one client that may be worked on or wait, so that it does not take the whole
            queue; of clients that the server knows, see `Caller`.
    """

    running: int = 1
    queue: int = 100
    deaths: int = 3
    each: int = 50


class Supervisor:
    """The jobs of one service in a data root.

    Args:
        root: where the jobs are, in ``operations/``.
        service: a word in small letters; services with different ones can share a root.
        modules: for each kind of job what to run: ``python -m MODULE FOLDER``, see `run_job`.
        limits: what to take on.
    """

    def __init__(
        self,
        root: DataRoot,
        service: str,
        modules: Mapping[str, str],
        limits: JobLimits | None = None,
    ) -> None:
        if not re.fullmatch("[a-z]+", service):
            raise InvalidInput(f"{service!r}: small letters are wanted", field="service")
        self._service = service
        self._modules = modules
        self._limits = limits or JobLimits()
        self._folder = root.folder / OPERATIONS
        # Its lock keeps other supervisors away; in it, folders are made ready or taken apart.
        self._own = JobFolder(self._folder / f".{service}")
        # Guards all below, and is notified of every change.
        self._changed = threading.Condition()
        self._jobs: dict[str, WatchedJob] = {}
        self._last_number = 0
        self._stop_by: float | None = None
        self._exclusive: JobLock | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take the service's jobs over and begin to work.

        Raises:
            AddressInUse: another supervisor has them.
        """
        self._own.path.mkdir(parents=True, exist_ok=True)
        self._exclusive = self._own.lock()
        if self._exclusive is None:
            raise AddressInUse(
                f"another server works on the {self._service} jobs in {self._folder}",
                field="data_root",
            )
        for unfinished in self._own.path.iterdir():
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
        paths = [path for path in self._folder.iterdir() if is_job_id(path.name)]
        for path in sorted(paths, key=lambda path: job_number(path.name)):
            if path.name.startswith(f"{self._service}-"):
                self._adopt(path)
        self._thread = threading.Thread(target=self._run, name=f"{self._service}-jobs", daemon=True)
        self._thread.start()

    def stop(self, grace: float = 0.0) -> None:
        """Stop the processes; the next supervisor lets the jobs go on.

        Each gets SIGTERM and ``grace`` seconds to save what it has.
        """
        if self._thread is None:
            return
        with self._changed:
            self._stop_by = time.monotonic() + grace
            self._changed.notify_all()
        self._thread.join()
        self._thread = None
        if self._exclusive is not None:
            self._exclusive.release()
            self._exclusive = None

    def submit(
        self,
        kind: str,
        target: str,
        asked: Mapping[str, Any],
        request_id: str = "",
        *,
        prepare: Callable[[], Mapping[str, Any]] = dict,
        field: str = "target",
    ) -> JobReport:
        """Ask for work. It is the caller's, where the server knows its clients.

        Args:
            kind: which work.
            target: the name of what is made; only one unfinished job at a time has it.
            asked: what the client wants; JSON.
            request_id: if the same has been asked for with it already, that job is returned,
                whatever has become of what the request names.
            prepare: called for a new request only: finds out what is wrong with it, and returns
                what the work gets beside ``asked``, with other keys; JSON.
            field: what the client's request calls the target, for messages.

        Raises:
            InvalidInput: something else was asked for with this ``request_id``, or a job for
                ``target`` is not done.
            Overloaded: too many jobs wait, or are the caller's.
            RankSRGANError: what ``prepare`` raises.
        """
        asked = json.loads(json.dumps(asked))
        with self._changed:
            known = self._known(kind, target, asked, request_id)
        if known is not None:
            return known
        wanted = JobRequest(
            kind=kind,
            target=target,
            request={**asked, **json.loads(json.dumps(prepare()))},
            request_id=request_id,
            created=time.time(),
            client=CALLER.get().name or "",
        )
        with self._changed:
            # Another call may have brought the same request while this one was prepared.
            known = self._known(kind, target, asked, request_id)
            if known is not None:
                return known
            unfinished = [job for job in self._jobs.values() if not job.done]
            for job in unfinished:
                if job.request.target == target:
                    raise InvalidInput(
                        f"{field}: {OPERATIONS}/{job.id} makes {target} already and is not done; "
                        "wait for it or cancel it",
                        field=field,
                    )
            self._require_share(wanted.client, unfinished)
            if len(unfinished) >= self._limits.running + self._limits.queue:
                raise Overloaded(f"{len(unfinished)} operations are not done; try again later")
            job = self._create(wanted)
            self._changed.notify_all()
            return job.report()

    def _known(
        self, kind: str, target: str, asked: Mapping[str, Any], request_id: str
    ) -> JobReport | None:
        """The job that was asked for with this ``request_id``; see `submit`."""
        for job in self._jobs.values():
            request = job.request
            if not request_id or request.request_id != request_id:
                continue
            # What was prepared may come out otherwise today, and is no part of the question.
            before = {key: request.request.get(key) for key in asked}
            if (request.kind, request.target, before) != (kind, target, asked):
                raise InvalidInput(
                    f"request_id: {OPERATIONS}/{job.id} has it and is another request; "
                    "each request needs its own",
                    field="request_id",
                )
            return job.report()
        return None

    def _require_share(self, client: str, unfinished: Sequence[WatchedJob]) -> None:
        has = sum(job.request.client == client for job in unfinished)
        if client and has >= self._limits.each:
            raise Overloaded(
                f"{client} has {has} operations that are not done, and {self._limits.each} is what "
                "one client may have; wait for one of them or cancel it"
            )

    def get(self, job_id: str) -> JobReport:
        """Raises UnknownName: there is no such job."""
        with self._changed:
            return self._find(job_id).report()

    def page(
        self, size: int, *, after: str = "", done: bool | None = None
    ) -> tuple[list[JobReport], bool]:
        """Jobs in the order in which they were asked for, and whether there are more.

        Args:
            size: how many at most.
            after: id of the last job of the page before.
            done: only those that are, or only those that are not.
        """
        first = job_number(after) + 1 if after else 0
        with self._changed:
            chosen = [
                job
                for job in self._jobs.values()
                if job_number(job.id) >= first and done in (None, job.done)
            ]
            return [job.report() for job in chosen[:size]], len(chosen) > size

    def cancel(self, job_id: str) -> None:
        """Have the job be done soon, with the error `RequestCancelled`; nothing if it is done.

        Raises:
            UnknownName: there is no such job.
            Forbidden: it is another client's.
        """
        with self._changed:
            self._find_own(job_id).cancel()
            self._changed.notify_all()

    def delete(self, job_id: str) -> None:
        """Forget a job that is done.

        Raises:
            UnknownName: there is no such job.
            Forbidden: it is another client's.
            InvalidInput: it is not done.
        """
        with self._changed:
            job = self._find_own(job_id)
            if not job.done:
                raise InvalidInput(
                    f"{OPERATIONS}/{job_id} is not done; cancel it first", field="name"
                )
            job.forget_process()
            gone = job.folder.path.rename(self._own.path / job_id)
            del self._jobs[job_id]
            self._changed.notify_all()
        shutil.rmtree(gone)

    def wait(self, job_id: str, timeout: float, wanted: Callable[[], bool]) -> JobReport:
        """The job when it is done; as it is after ``timeout`` seconds, when it is no longer
        ``wanted``, or when the supervisor is about to stop.

        Raises:
            UnknownName: there is no such job, or no longer.
            RankSRGANError: what ``wanted`` raises.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                job = self._find(job_id)
                left = end - time.monotonic()
                if not wanted() or job.done or left <= 0 or self._stop_by is not None:
                    return job.report()
                self._changed.wait(min(left, 0.5))

    def _run(self) -> None:
        while True:
            with self._changed:
                pause = self._look()
                if self._stop_by is not None:
                    working = any(job.working for job in self._jobs.values())
                    if not working or time.monotonic() > self._stop_by + LINGER:
                        return
                self._changed.wait(pause)

    def _look(self) -> float | None:
        """See to every process, then start new ones; how many seconds until the next look."""
        failed = [job for job in self._jobs.values() if job.working and not self._see_to(job)]
        working = sum(job.working for job in self._jobs.values())
        for job in self._jobs.values():
            if job.done or job.working or self._stop_by is not None:
                continue
            if working < self._limits.running or job.cancelled:
                if not self._see_to(job):
                    failed.append(job)
                working += job.working
        if failed:
            return 1.0
        if not working:
            return None
        closely = any(job.ending for job in self._jobs.values())
        return _LOOK_CLOSELY_EVERY if closely else _LOOK_EVERY

    def _see_to(self, job: WatchedJob) -> bool:
        before = job.done
        try:
            job.see_to(self._stop_by)
        except Exception:  # nothing of one job, a full disk say, may end the care for the others
            log.exception("%s: tried again in a second", job.id)
            return False
        if job.done and not before:
            self._changed.notify_all()
        return True

    def _create(self, request: JobRequest) -> WatchedJob:
        """A job whose folder appears with the request in it."""
        number = self._last_number + 1
        job_id = f"{self._service}-{number:06}-{secrets.token_hex(4)}"
        draft = JobFolder(self._own.path / job_id)
        draft.write_request(request)
        self._last_number = number
        return self._add(draft.path.rename(self._folder / job_id), request.kind)

    def _adopt(self, path: Path) -> None:
        """Take over what another supervisor has left."""
        self._last_number = max(self._last_number, job_number(path.name))
        try:
            self._add(path, JobFolder(path).request().kind)
        except InternalError as error:
            log.error("%s is left alone: %s", path.name, error)
        except KeyError as error:
            log.error("%s is left alone: nobody here knows its kind, %s", path.name, error)

    def _add(self, path: Path, kind: str) -> WatchedJob:
        job = WatchedJob(JobFolder(path), self._modules[kind], self._limits.deaths)
        self._jobs[job.id] = job
        return job

    def _find(self, job_id: str) -> WatchedJob:
        if job_id not in self._jobs:
            raise UnknownName(f"there is no {OPERATIONS}/{job_id[:120]}", field="name")
        return self._jobs[job_id]

    def _find_own(self, job_id: str) -> WatchedJob:
        job = self._find(job_id)
        if not CALLER.get().may_end(job.request.client):
            raise Forbidden(
                f"{OPERATIONS}/{job_id} is another client's: who has asked for it, or administers "
                "the server, may cancel or delete it",
                field="name",
            )
        return job
