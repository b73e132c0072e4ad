"""The devices of a server: a queue and one thread each, which works on what calls bring.

Several threads on one device would only share its time: every call would take as long as all of
them together, and none could be joined. Queues are as long as there are admitted calls, which
`ranksrgan.contracts.serving.admission` bounds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ranksrgan.contracts import cancellation, heaps
from ranksrgan.contracts.errors import DeadlineExceeded, RequestCancelled
from ranksrgan.contracts.serving.batching import Job, is_full, partners, run_joined
from ranksrgan.contracts.serving.first_thread import FirstThread
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.pace import LeastTimes
from ranksrgan.contracts.serving.precedence import compute_behind

# Seconds without work after which free memory goes back to the system.
_REST = 1.0


class Devices:
    """The workers of a server, by their devices; each begins with its first job.

    Args:
        batch_size: images that a joined batch has at most.
        batch_wait: seconds that work waits for more to join it, while calls are on their way.
        observers: are told of batches, and how to ask for the queues.
        first_thread: works for the CPU, where it is given; else that has a thread of its own too.
    """

    def __init__(
        self,
        batch_size: int,
        batch_wait: float,
        observers: Observers,
        first_thread: FirstThread | None = None,
    ) -> None:
        self._batch_size = batch_size
        self._batch_wait = batch_wait
        self._observers = observers
        self._first_thread = first_thread
        self._lock = threading.Lock()
        self._workers: dict[tuple[str, int], DeviceWorker] = {}
        self._coming = 0
        self._closed = False
        observers.queues(self.lengths)

    def expect(self, calls: int) -> None:
        """So many more calls may bring work soon; fewer, if negative."""
        with self._lock:
            self._coming += calls
            idle = [] if self._coming else list(self._workers.values())
        for worker in idle:
            worker.nudge()

    def worker(self, device: torch.device) -> DeviceWorker:
        """The one of that device.

        Raises:
            RequestCancelled: the server has stopped.
        """
        with self._lock:
            if self._closed:
                raise RequestCancelled("the server has stopped")
            key = (device.type, device.index or 0)  # cuda is cuda:0
            if key not in self._workers:
                self._workers[key] = self._begin(device)
            return self._workers[key]

    def lengths(self) -> Mapping[tuple[str, str], int]:
        """See `observer.Lengths`."""
        with self._lock:
            workers = list(self._workers.values())
        together: Counter[tuple[str, str]] = Counter()
        for worker in workers:
            together.update(worker.lengths())
        return together

    def _begin(self, device: torch.device) -> DeviceWorker:
        worker = DeviceWorker(
            device,
            batch_size=self._batch_size,
            batch_wait=self._batch_wait,
            more_come=lambda: self._coming > 0,
            rested=self._give_back,
            observers=self._observers,
        )
        first = self._first_thread if device.type == "cpu" else None
        if first is None or not first.lend(worker.serve):
            threading.Thread(target=worker.serve, name=f"device {device}", daemon=True).start()
        return worker

    def _give_back(self) -> None:
        """A worker has had nothing to do for a while; memory is that of all of them."""
        with self._lock:
            resting = all(worker.resting for worker in self._workers.values())
        if resting:
            heaps.give_back()

    def close(self) -> None:
        """Let the threads end when their queues are empty."""
        with self._lock:
            self._closed = True
        for worker in self._workers.values():
            worker.close()


class DeviceWorker:
    """A queue of jobs, and what a thread does for them: the oldest first, with what it can join.

    Args:
        device: that it is for.
        batch_size, batch_wait, observers: as in `Devices`.
        more_come: whether it is worth waiting for more jobs.
        rested: is called when no job has come for a moment after the last one.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        batch_size: int,
        batch_wait: float,
        more_come: Callable[[], bool],
        rested: Callable[[], None],
        observers: Observers,
    ) -> None:
        self._device = device
        self._batch_size = batch_size
        self._batch_wait = batch_wait
        self._more_come = more_come
        self._rested = rested
        #: Whether the last job was a moment ago, and none has come since.
        self.resting = True
        self._observers = observers
        self._changed = threading.Condition()  # guards what follows, and the results of jobs
        self._times: LeastTimes[tuple[str, str, str]] = LeastTimes()
        self._waiting: list[Job] = []
        self._closed = False

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn; what becomes of it is in its ``result``."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def give_up(self, job: Job) -> None:
        """The call has ended: its job leaves the queue, or is not waited for any more.

        Work in progress ends when `cancellation.check` finds that no call wants it.
        """
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
            late = job.deadline is not None and time.monotonic() >= job.deadline
            why = DeadlineExceeded("its deadline has passed") if late else None
            _answer(job, why or RequestCancelled("the client has gone"))

    def lengths(self) -> Mapping[tuple[str, str], int]:
        """Of the jobs in this queue; see `observer.Lengths`."""
        with self._changed:
            lengths = Counter((job.work.service, job.work.model) for job in self._waiting)
            for service, model, _ in self._times.kinds:
                lengths[service, model] += 0
            return lengths

    def nudge(self) -> None:
        """Look again whether it is worth waiting."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """End when the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def serve(self) -> None:
        """Work, in the thread that is for this device, until it is closed and the queue empty."""
        if self._device.type == "cpu":  # others wait for what this thread sends them
            compute_behind()
        while jobs := self._next():
            self.resting = False
            self._do(jobs)
            del jobs  # nothing is held while the next job is waited for
            self._rest()

    def _rest(self) -> None:
        """Wait for the next job a moment; if none comes, say so."""
        with self._changed:
            goes_on = self._changed.wait_for(lambda: bool(self._waiting) or self._closed, _REST)
        if not goes_on:
            self.resting = True
            self._rested()

    def _next(self) -> list[Job]:
        """The jobs of the next batch, out of the queue; empty at the end of all work."""
        with self._changed:
            while True:
                self._drop_late()
                if self._waiting:
                    chosen = partners(self._waiting[0], self._waiting, self._batch_size)
                    patience = self._patience(chosen)
                    if patience <= 0:
                        self._waiting = [job for job in self._waiting if job not in chosen]
                        return chosen
                    self._changed.wait(patience)
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _patience(self, chosen: list[Job]) -> float:
        """Seconds that the batch may still wait for more to join it."""
        alone = chosen[0].work.key is None
        if alone or is_full(chosen, self._batch_size) or not self._more_come() or self._closed:
            return 0.0
        return chosen[0].since + self._batch_wait - time.monotonic()

    def _drop_late(self) -> None:
        """Answer those that cannot be done before their deadlines."""
        now = time.monotonic()
        for job in tuple(self._waiting):
            if job.deadline is None:
                continue
            left = job.deadline - now
            if left > 0 and self._times.allow(_kind(job), job.work.pixels, left):
                continue
            self._waiting.remove(job)
            _answer(
                job,
                DeadlineExceeded(
                    f"{max(left, 0):.3g} s are left of the deadline, and that is too little for "
                    f"{job.work.operation} of {job.work.pixels} pixels here"
                ),
            )

    def _do(self, jobs: list[Job]) -> None:
        began = time.monotonic()
        joined = len(jobs) > 1
        try:
            with cancellation.scope(_wanted(jobs)):
                cancellation.check()
                results = run_joined(jobs) if joined else [jobs[0].work.run()]
        except Exception as error:
            if not joined or isinstance(error, RequestCancelled):
                results = [error] * len(jobs)
            else:
                # One of them is at fault, and which one shows alone.
                for job in jobs:
                    self._do([job])
                return
        seconds = time.monotonic() - began
        images = sum(job.work.images for job in jobs)
        self._observers.batch(jobs[0].work.model, images, seconds)
        with self._changed:
            if not isinstance(results[0], BaseException):
                pixels = sum(job.work.pixels for job in jobs)
                self._times.measured(_kind(jobs[0]), pixels, seconds)
            for job, result in zip(jobs, results, strict=True):
                _answer(job, result)


def _wanted(jobs: Sequence[Job]) -> Callable[[], bool]:
    """Whether any of the calls still waits."""
    if len(jobs) == 1:
        return jobs[0].wanted
    return lambda: any(job.wanted() for job in jobs)


def _kind(job: Job) -> tuple[str, str, str]:
    return (job.work.service, job.work.model, job.work.operation)


def _answer(job: Job, result: Any) -> None:
    """Give a job its result, or the exception that is there instead; the first one counts."""
    if job.result.done():
        return
    if isinstance(result, BaseException):
        job.result.set_exception(result)
    else:
        job.result.set_result(result)
