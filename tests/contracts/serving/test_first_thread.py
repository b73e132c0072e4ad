"""Who computes for the CPU: the first thread of a server's process, and what becomes of signals."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import rpc
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.devices import Devices
from ranksrgan.contracts.serving.first_thread import FirstThread
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from tests.contracts.conftest import Catalog
from tests.contracts.served import until

PATIENCE = 60.0


class Teller:
    """Scores 1 in the first thread and 0 in others, when ``go`` allows it."""

    info = ScorerInfo("teller", "1", True, False, False, 1)

    def __init__(self, begun: Queue[int], go: Queue[None]) -> None:
        self._begun, self._go = begun, go

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self._begun.put(os.getpid())
        self._go.get(timeout=PATIENCE)
        first = threading.current_thread() is threading.main_thread()
        return torch.full((len(images),), float(first), dtype=torch.float64)


def be_server(address: str, begun: Queue[int], go: Queue[None], grace: float) -> None:
    def load(observers: object) -> rpc.Services:
        return rpc.Services([ScoringServicer(Catalog(teller=Teller(begun, go)))])

    settings = ServerSettings(listen=address, grace=grace)
    raise SystemExit(rpc.serve(settings, [ScoringServicer.full_name], load))


def ask(scorer: RemoteScorer, answers: queue.SimpleQueue[object]) -> None:
    try:
        answers.put(scorer.score(torch.rand(1, 3, 8, 8)).tolist())
    except Exception as error:
        answers.put(error)


class Served:
    """A server in a process of its own, and one call of it.

    Attributes:
        begun: the server's pid, when it is at work for the call.
        go: lets it go on.
        answers: what the call has come to.
    """

    def __init__(self, address: str, grace: float) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.address = address
        self.begun, self.go = spawn.Queue(), spawn.Queue()
        self.answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.process = spawn.Process(target=be_server, args=(address, self.begun, self.go, grace))
        self.process.start()

    def call(self) -> int:
        """Ask, and wait until the server works on it; its pid."""
        assert rpc.wait_until_healthy(self.address, timeout=PATIENCE)
        scorer = connect_scorer(self.address, "teller", timeout=PATIENCE)
        threading.Thread(target=ask, args=(scorer, self.answers), daemon=True).start()
        return self.begun.get(timeout=PATIENCE)


@pytest.fixture(params=[PATIENCE])
def served(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.syspath_prepend(Path(__file__).parents[3])  # where the process finds this module
    server = Served(f"unix:{tmp_path}/s", grace=request.param)
    yield server
    server.process.kill()
    server.process.join()


def test_the_first_thread_computes_and_a_signal_does_not_disturb_it(served: Served) -> None:
    os.kill(served.call(), signal.SIGTERM)
    assert rpc.check_health(served.address, "", timeout=PATIENCE)  # others answer meanwhile
    served.go.put(None)
    assert served.answers.get(timeout=PATIENCE) == [1.0]
    served.process.join(PATIENCE)
    assert served.process.exitcode == 0


@pytest.mark.parametrize("served", [0.5], indirect=True)
def test_work_that_does_not_end_ends_with_the_process(served: Served) -> None:
    os.kill(served.call(), signal.SIGTERM)
    served.process.join(PATIENCE)
    assert served.process.exitcode == 0


def test_a_second_signal_ends_it_at_once_whatever_the_first_thread_does(served: Served) -> None:
    pid = served.call()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not rpc.check_health(served.address, timeout=PATIENCE))  # it has been heard
    os.kill(pid, signal.SIGTERM)
    served.process.join(PATIENCE)
    assert served.process.exitcode == 1


def test_it_is_lent_once_and_works_until_the_end() -> None:
    first = FirstThread()
    served: list[threading.Thread] = []

    def work() -> None:
        served.append(threading.current_thread())

    assert first.lend(work)
    assert not first.lend(work)
    first.end()
    first.work()
    assert served == [threading.current_thread()]


@pytest.mark.parametrize("lent", [False, True])
def test_the_device_takes_what_it_is_lent(lent: bool) -> None:
    first = FirstThread()
    if lent:
        first.lend(lambda: None)
    before = threading.active_count()
    devices = Devices(8, 0.0, Observers([]), first)
    devices.worker(torch.device("cpu"))
    assert threading.active_count() == before + lent  # a thread of its own where the first is taken
    devices.close()
    if not lent:
        first.end()
        working = threading.Thread(target=first.work)
        working.start()
        working.join(PATIENCE)
        assert not working.is_alive()
