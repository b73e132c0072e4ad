"""The worker of a device: order, joining, deadlines and calls that end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import cancellation, heaps
from ranksrgan.contracts.errors import DeadlineExceeded, InvalidInput, RequestCancelled
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.serving import devices
from ranksrgan.contracts.serving.batching import Batch, Job
from ranksrgan.contracts.serving.devices import Devices
from ranksrgan.contracts.serving.observer import Observers
from tests.contracts.watcher import PATIENCE, Watcher


class Gate:
    """Work that holds the device until it is let go, in small steps as our loops do."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, images: Tensor) -> tuple[Tensor]:
        self.begun.set()
        while not self.go.wait(0.005):
            cancellation.check()
        return (images,)


class Bench:
    """The worker of the CPU with a gate in front."""

    def __init__(self) -> None:
        self.watcher = Watcher()
        self.devices = Devices(8, 0.0, Observers([self.watcher]))
        self.worker = self.devices.worker(torch.device("cpu"))
        self.gate = Gate()
        self.owner = object()

    def submit(
        self,
        value: float,
        work: Callable[[Tensor], tuple[Tensor]] = lambda images: (images + 1,),
        *,
        model: str = "model",
        service: str = "service",
        deadline: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Job:
        images = torch.full((1, 1, 2, 2), float(value))
        batch = Batch(service, model, "do", Joining("exactly"), work, (images,), self.owner)
        job = Job(batch, deadline, wanted, time.monotonic())
        self.worker.submit(job)
        return job

    def hold(self, wanted: Callable[[], bool] = lambda: True) -> Job:
        self.owner = object()
        job = self.submit(0, self.gate, model="gate", wanted=wanted)
        assert self.gate.begun.wait(PATIENCE)
        self.owner = object()
        return job

    def result(self, job: Job) -> float:
        (found,) = job.result.result(PATIENCE)
        return float(found.mean())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.go.set()
    bench.devices.close()


def test_what_waits_is_joined_and_told(bench: Bench) -> None:
    bench.hold()
    jobs = [bench.submit(value) for value in range(10)]
    assert bench.watcher.waiting("model") == 10
    bench.gate.go.set()
    assert [bench.result(job) for job in jobs] == [value + 1 for value in range(10)]
    bench.watcher.until(lambda: len(bench.watcher.batches) == 3)
    assert bench.watcher.batches == [("gate", 1), ("model", 8), ("model", 2)]
    assert bench.watcher.waiting("model") == 0


def test_queues_are_by_service_and_model_though_batches_are_joined(bench: Bench) -> None:
    bench.hold()
    jobs = [bench.submit(1, service=name) for name in ("one", "two", "two")]
    jobs.append(bench.submit(1, service="two", model="model?option=1"))
    assert bench.devices.lengths() == {
        ("one", "model"): 1,
        ("two", "model"): 2,
        ("two", "model?option=1"): 1,
    }
    bench.gate.go.set()
    assert [bench.result(job) for job in jobs] == [2] * 4
    assert bench.watcher.batches[-1] == ("model", 4)
    assert sum(bench.devices.lengths().values()) == 0
    assert ("one", "model") in bench.devices.lengths()


def test_a_call_that_is_at_fault_fails_alone(bench: Bench) -> None:
    def work(images: Tensor) -> tuple[Tensor]:
        if bool((images == 1).any()):
            raise InvalidInput(f"one of {len(images)} images is 1", field="images")
        if bool((images == 2).any()):
            raise ZeroDivisionError
        return (images + 1,)

    bench.hold()
    jobs = [bench.submit(value, work) for value in range(4)]
    bench.gate.go.set()
    assert [bench.result(jobs[k]) for k in (0, 3)] == [1, 4]
    with pytest.raises(InvalidInput, match="one of 1 images"):
        bench.result(jobs[1])
    with pytest.raises(ZeroDivisionError):
        bench.result(jobs[2])


def test_a_call_that_ends_leaves_the_queue_at_once(bench: Bench) -> None:
    bench.hold()
    gone, stays = bench.submit(1), bench.submit(2)
    bench.worker.give_up(gone)
    with pytest.raises(RequestCancelled):
        gone.result.result(0)
    assert bench.watcher.waiting("model") == 1
    bench.gate.go.set()
    assert bench.result(stays) == 3
    assert ("model", 1) in bench.watcher.batches


def test_work_that_nobody_wants_frees_the_device(bench: Bench) -> None:
    wanted = threading.Event()
    wanted.set()
    held = bench.hold(wanted.is_set)
    waiting = bench.submit(1)
    wanted.clear()
    bench.worker.give_up(held)
    assert bench.result(waiting) == 2  # although the gate is shut
    with pytest.raises(RequestCancelled):
        held.result.result(0)


def test_joined_work_goes_on_for_those_who_wait(bench: Bench) -> None:
    bench.hold()
    second = Gate()
    leaves = threading.Event()
    gone = bench.submit(1, second, wanted=lambda: not leaves.is_set())
    stays = bench.submit(2, second)
    bench.gate.go.set()
    assert second.begun.wait(PATIENCE)
    leaves.set()
    bench.worker.give_up(gone)
    second.go.set()
    assert bench.result(stays) == 2
    assert isinstance(gone.result.exception(0), RequestCancelled)


def test_a_deadline_that_has_passed_is_not_worked_for(bench: Bench) -> None:
    bench.hold()
    late = bench.submit(1, deadline=time.monotonic())
    bench.gate.go.set()
    with pytest.raises(DeadlineExceeded, match="0 s are left"):
        bench.result(late)
    assert bench.watcher.waiting("model") == 0
    bench.worker.give_up(late)  # the call ends; the first answer stays
    assert isinstance(late.result.exception(0), DeadlineExceeded)


def test_a_deadline_that_cannot_be_met_is_not_worked_for(bench: Bench) -> None:
    """By the fastest such work so far, which took as long as the gate was shut."""
    bench.hold()
    time.sleep(0.2)
    bench.gate.go.set()
    bench.watcher.until(lambda: bool(bench.watcher.batches))
    least = bench.watcher.seconds[0]
    assert least > 0.2
    bench.owner = object()
    calls: list[int] = []

    def work(images: Tensor) -> tuple[Tensor]:
        calls.append(1)
        return (images,)

    late = bench.submit(1, work, model="gate", deadline=time.monotonic() + least / 2)
    with pytest.raises(DeadlineExceeded, match="too little for do of 4 pixels"):
        bench.result(late)
    assert not calls
    assert bench.result(bench.submit(1, work, model="gate", deadline=time.monotonic() + 60)) == 1


def test_an_observer_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Watcher):
        def batch(self, model: str, size: int, seconds: float) -> None:
            raise ZeroDivisionError

    bench = Bench()
    broken = Broken()
    bench.devices = Devices(8, 0.0, Observers([broken, bench.watcher]))
    bench.worker = bench.devices.worker(torch.device("cpu"))
    assert bench.result(bench.submit(1)) == 2
    bench.watcher.until(lambda: bench.watcher.batches == [("model", 1)])
    assert "an observer failed" in caplog.text
    bench.devices.close()


def test_work_waits_for_calls_that_are_on_their_way() -> None:
    bench = Bench()
    bench.devices = Devices(8, 1e6, Observers([bench.watcher]))  # for ever
    bench.worker = bench.devices.worker(torch.device("cpu"))
    bench.devices.expect(2)
    first = bench.submit(1)
    bench.devices.expect(-1)
    second = bench.submit(2)
    bench.devices.expect(-1)  # nobody comes any more
    assert (bench.result(first), bench.result(second)) == (2, 3)
    bench.watcher.until(lambda: bench.watcher.batches == [("model", 2)])
    # A full batch waits for nobody.
    bench.devices.expect(1)
    jobs = [bench.submit(value) for value in range(8)]
    assert [bench.result(job) for job in jobs] == list(range(1, 9))
    # Nor does a server that stops.
    last = bench.submit(1)
    bench.devices.close()
    assert bench.result(last) == 2
    with pytest.raises(RequestCancelled):
        bench.devices.worker(torch.device("cpu"))


def test_devices_have_a_worker_each() -> None:
    devices = Devices(8, 0.0, Observers())
    cuda, first, second = (devices.worker(torch.device(f"cuda{n}")) for n in ("", ":0", ":1"))
    assert cuda is first
    assert second is not first
    devices.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_who_computes_leaves_others_the_way(bench: Bench) -> None:
    found: list[int] = []

    def priority() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, 0))

    def work(images: Tensor) -> tuple[Tensor]:
        priority()
        helper = threading.Thread(target=priority)  # as OpenMP starts them
        helper.start()
        helper.join()
        return (images,)

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    bench.result(bench.submit(1, work))
    assert found == [min(ours + 5, 19)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


def test_free_memory_goes_back_when_nothing_comes_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back = threading.Semaphore(0)
    monkeypatch.setattr(heaps, "give_back", given_back.release)
    bench = Bench()
    try:
        bench.submit(1.0).result.result(PATIENCE)
        assert given_back.acquire(timeout=PATIENCE)
        assert not given_back.acquire(timeout=2 * devices._REST), "once is enough"
        bench.submit(2.0).result.result(PATIENCE)
        assert given_back.acquire(timeout=PATIENCE)
    finally:
        bench.devices.close()
