"""A server under load, against the bars of the project: throughput, overload, health.

The server, its clients and the one who asks for its health are processes of their own on this
machine, and share its cores. With ``--apart`` half of the cores are the server's (and are what is
measured in process) and the clients have the others, as if they were on another machine: what a
refusal costs whoever sends the call is then no burden of the server. What is compared is measured
in turns. Throughput is that of the project's client, which has tensors in shared memory: first with
batches that it copies there for each call, then with one that was made there
(`RemoteScorer.empty`). The bar is for both. Overload comes as raw requests.

    python benchmarks/bench_load.py [--apart] [--generator generator.safetensors] [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import math
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from ranksrgan.contracts import Scorer, ScorerInfo, Upscaler, heaps, open_scorer, rpc
from ranksrgan.contracts.client import connect_scorer, connect_upscaler
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.v1 import (
    image_pb2,
    scoring_pb2,
    scoring_pb2_grpc,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)
from ranksrgan.contracts.wire import codec
from ranksrgan.ranker import VGG12, Ranker
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.opening import open_generator
from ranksrgan.srgan.upscaling.picture import upscale_picture

# Calls of one client at a time where throughput is measured: while one is computed, the next is on
# its way.
_CALLS = 3

# Times that throughput is measured here and there.
_ROUNDS = 5

# Times that each kind of call is offered in excess.
_OVERLOADS = 5

# How much more than the server's peak the clients send it.
_OVERLOAD = 3.0


class Catalog:
    """niqe, and a Ranker of the published size whose weights are random."""

    def __init__(self) -> None:
        ranker = Ranker(VGG12(64, torch.Generator().manual_seed(1)), higher_is_better=False)
        self._scorers: dict[str, Scorer] = {"niqe": open_scorer("niqe"), "ranker": ranker}

    def infos(self) -> list[ScorerInfo]:
        return [scorer.info for scorer in self._scorers.values()]

    def open(self, name: str) -> Scorer:
        return self._scorers[name]


def open_model(generator: Path | None) -> Upscaler:
    """The generator of that file; without one SRResNet of the published size, random."""
    if generator is not None:
        return open_generator(str(generator), {})
    torch.manual_seed(0)
    return GeneratorUpscaler(SRResNet(64, 16, 4), name="model")


@dataclass(frozen=True)
class Case:
    """One kind of call.

    Attributes:
        name: for the table; also what is called.
        shape: of the batch in one call.
        dtype: of its images.
        quality: of JPEG, in which they are sent; None: as raw bytes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    quality: int | None = None

    @property
    def label(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))}"

    def batch(self) -> torch.Tensor:
        images = torch.rand(self.shape, generator=torch.Generator().manual_seed(2))
        return images if self.dtype.is_floating_point else (255 * images).to(self.dtype)

    def request(self) -> Any:
        if self.quality is None:
            images = [codec.image_to_proto(image) for image in self.batch()]
        else:
            images = [self._jpeg(image) for image in self.batch()]
        if self.name == "upscale":
            return super_resolution_pb2.UpscaleRequest(model="model", images=images)
        return scoring_pb2.ScoreRequest(scorer=self.name, images=images)

    def _jpeg(self, image: torch.Tensor) -> image_pb2.Image:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=self.quality)
        return image_pb2.Image(encoded=file.getvalue())

    def method(self, channel: grpc.Channel | grpc.aio.Channel) -> Any:
        if self.name == "upscale":
            return super_resolution_pb2_grpc.SuperResolutionServiceStub(channel).Upscale
        return scoring_pb2_grpc.ScoringServiceStub(channel).Score

    def local(self, scorers: Catalog, model: Upscaler) -> Callable[[], object]:
        batch = self.batch()
        if self.name == "upscale":
            return lambda: model.upscale(batch)
        return lambda: scorers.open(self.name).score(batch)


THROUGHPUT = [
    Case("upscale", (4, 3, 32, 32), torch.float32),
    Case("upscale", (4, 3, 64, 64), torch.float32),
    Case("niqe", (8, 3, 512, 512), torch.uint8),
    Case("niqe", (32, 3, 512, 512), torch.uint8),
    Case("ranker", (8, 3, 128, 128), torch.uint8),
]
OVERLOADED = [
    Case("upscale", (1, 3, 24, 24), torch.float32),
    Case("niqe", (1, 3, 512, 512), torch.uint8, quality=50),
    Case("ranker", (1, 3, 64, 64), torch.uint8),
]


def serve(address: str, generator: Path | None) -> None:
    full_names = [ScoringServicer.full_name, SuperResolutionServicer.full_name]

    def load(observers: Observers) -> rpc.Services:
        models = UpscalerCatalog({"model": open_model(generator)})
        return rpc.Services(
            [ScoringServicer(Catalog()), SuperResolutionServicer(models, upscale_picture)]
        )

    raise SystemExit(rpc.serve(ServerSettings(listen=address), full_names, load))


def be_client(address: str, tasks: Any, answers: Any) -> None:
    """Do what the bench asks for, in a process that stays: to start one takes seconds."""
    with rpc.open_channel(address) as channel:
        while (task := tasks.get()) is not None:
            work, *arguments = task
            answers.put(work(channel, *arguments))


def saturate(channel: grpc.Channel, case: Case, calls: int, seconds: float) -> float:
    """Keep ``calls`` raw requests under way; images per second."""
    request, method = case.request(), case.method(channel)
    return _rate(lambda: method(request, timeout=120), case, calls, seconds)


def use(
    channel: grpc.Channel, address: str, case: Case, calls: int, seconds: float, in_place: bool
) -> float:
    """Keep ``calls`` of the project's own client under way; images per second.

    Args:
        in_place: whether the batch lies in shared memory for good, or is copied there by each call.
    """
    call: Callable[[torch.Tensor], torch.Tensor]
    if case.name == "upscale":
        upscaler = connect_upscaler(address, "model", timeout=120)
        call, empty = upscaler.upscale, upscaler.empty
    else:
        scorer = connect_scorer(address, case.name, timeout=120)
        call, empty = scorer.score, scorer.empty
    batch = case.batch()
    if in_place:
        batch = empty(batch.shape, batch.dtype).copy_(batch)  # the calls only read it
    return _rate(lambda: call(batch), case, calls, seconds)


def _rate(call: Callable[[], object], case: Case, calls: int, seconds: float) -> float:
    done = [0] * calls
    call()
    began = time.monotonic()

    def one(place: int) -> None:
        while time.monotonic() < began + seconds:
            call()
            done[place] += 1

    threads = [threading.Thread(target=one, args=(place,)) for place in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) * case.shape[0] / (time.monotonic() - began)


@dataclass
class Outcomes:
    """What became of the calls of an overloading client, in seconds from send to answer."""

    offered: float = 0.0
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def overload(
    channel: grpc.Channel, address: str, case: Case, rate: float, seconds: float
) -> Outcomes:
    """Send ``rate`` calls a second, however many are answered.

    The first second is left out: it fills the queue. Calls go through one event loop, which costs
    the cores that the server is measured on a fourth of what a thread for each would.
    """
    request = case.request()
    case.method(channel)(request, timeout=120)
    return asyncio.run(_overload(address, case, request, rate, seconds))


async def _overload(
    address: str, case: Case, request: Any, rate: float, seconds: float
) -> Outcomes:
    outcomes = Outcomes()

    async def send(method: Any, counted: bool) -> None:
        sent = time.monotonic()
        code, told = grpc.StatusCode.OK, ""
        try:
            await method(request, timeout=120)
        except grpc.aio.AioRpcError as error:
            code, told = error.code(), error.details() or ""
        if not counted:
            return
        took = time.monotonic() - sent
        if code == grpc.StatusCode.OK:
            outcomes.good.append(took)
        elif code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            outcomes.refused.append(took)
        else:
            outcomes.others.append(f"{code}: {told}")

    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as calls:
        method = case.method(channel)
        began, count = time.monotonic(), 0
        while (now := time.monotonic()) < began + 1 + seconds:
            due = began + count / rate
            if now < due:
                await asyncio.sleep(due - now)
            calls.create_task(send(method, time.monotonic() > began + 1))
            count += 1
            await asyncio.sleep(0)  # what has come is taken in
        outcomes.offered = count / (time.monotonic() - began)
    return outcomes


def ask_health(address: str, begun: Any, stop: Any, answers: Any) -> None:
    """Ask every 10 ms, from ``begun`` to ``stop``; put the seconds of all answers."""
    times: list[float] = []
    with rpc.open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        check = stub.Check  # type: ignore[attr-defined]
        check(health_pb2.HealthCheckRequest(), timeout=60)
        begun.set()
        while not stop.is_set():
            began = time.monotonic()
            check(health_pb2.HealthCheckRequest(), timeout=60)
            times.append(time.monotonic() - began)
            time.sleep(0.01)
    answers.put(times)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


@dataclass(frozen=True)
class Cores:
    """Those of the server, and of what is measured in process, and those of the clients."""

    server: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def of(cls, apart: bool) -> Cores:
        every = sorted(os.sched_getaffinity(0))
        half = len(every) // 2
        if not apart:
            return cls(frozenset(every), frozenset(every))
        if not half:
            raise SystemExit("--apart: two cores or more are wanted")
        return cls(frozenset(every[:half]), frozenset(every[half:]))


class Bench:
    """The server, and what is done to it."""

    def __init__(self, address: str, generator: Path | None, seconds: float, cores: Cores) -> None:
        self._cores = cores
        self._spawn = multiprocessing.get_context("spawn")
        self._address, self._seconds = address, seconds
        self._scorers, self._model = Catalog(), open_model(generator)
        self._tasks, self._answers = self._spawn.Queue(), self._spawn.Queue()
        self._server = self._spawn.Process(target=serve, args=(address, generator))
        self._failed = False

    def run(self) -> bool:
        client = self._spawn.Process(
            target=be_client, args=(self._address, self._tasks, self._answers)
        )
        # As deploy/ starts servers.
        with mock.patch.dict(os.environ, GOMP_SPINCOUNT="10000"), _on(self._cores.server):
            self._server.start()
        with _on(self._cores.clients):
            client.start()
        try:
            if not rpc.wait_until_healthy(self._address):
                raise SystemExit("the server did not start")
            os.sched_setaffinity(0, self._cores.server)
            torch.set_num_threads(len(self._cores.server))
            apart = self._cores.server.isdisjoint(self._cores.clients)
            print(
                f"server: {len(self._cores.server)} cores, clients: {len(self._cores.clients)} "
                f"{'others' if apart else 'that are the same'}\n"
            )
            self._throughput()
            self._overload()
        finally:
            self._tasks.put(None)
            client.join()
            self._server.terminate()
            self._server.join()
        return not self._failed

    def _throughput(self) -> None:
        print(
            f"{'throughput of batches':<34}{'in process':>12}{'service':>12}{'ratio':>8}{'bar':>8}"
        )
        for case in THROUGHPUT:
            work = case.local(self._scorers, self._model)
            work()
            here: list[float] = []
            there: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(_ROUNDS):
                count, began = 0, time.monotonic()
                while time.monotonic() < began + self._seconds:
                    work()
                    count += case.shape[0]
                here.append(count / (time.monotonic() - began))
                for in_place, found in there.items():
                    task = (use, self._address, case, _CALLS, self._seconds, in_place)
                    found.append(self._client(*task))
            for in_place, found in there.items():
                # Each pair is measured within seconds: what else the machine does hits both.
                ratio = statistics.median(b / a for a, b in zip(here, found, strict=True))
                print(
                    f"{case.label + (', in place' if in_place else ''):<34}"
                    f"{statistics.median(here):>10.1f}/s{statistics.median(found):>10.1f}/s"
                    f"{ratio:>8.2f}{0.9:>8.2f}  {self._verdict(ratio >= 0.9)}",
                    flush=True,
                )

    def _overload(self) -> None:
        limits = rpc.ServerLimits()
        room = limits.workers + limits.queue
        print()
        _headline("at 3 times the peak", "peak", "goodput", "ratio")
        begun, stop, health = self._spawn.Event(), self._spawn.Event(), self._spawn.Queue()
        task = (self._address, begun, stop, health)
        asking = self._spawn.Process(target=ask_health, args=task)
        with _on(self._cores.clients):
            asking.start()
        if not begun.wait(120):  # to start a process takes seconds of a core
            raise SystemExit("the server does not answer health checks")
        refusals: dict[str, list[float]] = {}
        for case in OVERLOADED:
            peaks = [self._client(saturate, case, room, self._seconds)]
            goodputs: list[float] = []
            offered: list[float] = []
            others: list[str] = []
            refusals[case.label] = []
            for _ in range(_OVERLOADS):
                rate = _OVERLOAD * statistics.mean(peaks)
                found = self._client(overload, self._address, case, rate, 2 * self._seconds)
                goodputs.append(len(found.good) * case.shape[0] / (2 * self._seconds))
                offered.append(found.offered)
                others += found.others
                refusals[case.label] += found.refused
                peaks.append(self._client(saturate, case, room, self._seconds))
            # Each with the peaks before and after it.
            ratio = statistics.median(
                2 * good / (before + after)
                for good, before, after in zip(goodputs, peaks, peaks[1:], strict=False)
            )
            verdict = self._verdict(ratio >= 0.9 and not others)
            print(
                f"{case.label:<34}{statistics.median(peaks):>10.1f}/s"
                f"{statistics.median(goodputs):>10.1f}/s{ratio:>8.2f}{0.9:>8.2f}  {verdict} "
                f"({statistics.median(offered):.0f} calls/s offered)",
                *others[:1],
                flush=True,
            )
        stop.set()
        times = health.get()
        asking.join()
        print()
        _headline("milliseconds", "number", "median", "p99", "max")
        for label, refused in refusals.items():
            self._times(f"refusals, {label}", refused)
        self._times("health, all of the time", times)

    def _times(self, label: str, times: list[float]) -> None:
        median, late, worst = (1e3 * percentile(times, share) for share in (0.5, 0.99, 1))
        print(
            f"{label:<34}{len(times):>12}{median:>12.1f}{late:>8.1f}{worst:>8.1f}{'p99 50':>8}"
            f"  {self._verdict(late < 50)}"
        )

    def _client(self, work: Callable[..., Any], *arguments: object) -> Any:
        self._tasks.put((work, *arguments))
        return self._answers.get()

    def _verdict(self, passed: bool) -> str:
        self._failed = self._failed or not passed
        return "pass" if passed else "FAIL"


@contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    """Processes that begin meanwhile have these cores, and as many threads of torch."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _headline(what: str, first: str, second: str, *others: str) -> None:
    print(f"{what:<34}{first:>12}{second:>12}" + "".join(f"{name:>8}" for name in (*others, "bar")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--generator", type=Path, help="weights; without them SRResNet, untrained")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--apart", action="store_true", help="clients have cores of their own")
    options = parser.parse_args()
    # What a server has, so that in process costs no more for lack of it.
    heaps.keep_for_a_command()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        cores = Cores.of(options.apart)
        bench = Bench(f"unix:{folder}/s.sock", options.generator, options.seconds, cores)
        return 0 if bench.run() else 1


if __name__ == "__main__":
    raise SystemExit(main())
