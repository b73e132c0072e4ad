"""Minutes at saturation: is every answer right, and does memory stay? ``python benchmarks/soak.py``

Sixteen clients in four processes ask one server to score, to differentiate and to enlarge images of
several sizes: by raw requests with the pixels inside, by the project's clients, which have them in
shared memory, and through streams of scores. One raw call in a hundred is cancelled and one has a
deadline that it cannot meet, and as many streams are left halfway. Others watch the server's health
all the time. Each answer is compared, by its hash, with what this process has computed itself
beforehand. Exits with 1 if an answer was wrong, if the server's memory has grown after the warm-up,
or if in the end it believes that something waits. ``--plant-leak`` is the control: a server whose
scorer keeps what it is given, which has to fail.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Set before torch is imported: the server and this process compute with one thread each.
os.environ["OMP_NUM_THREADS"] = "1"

import grpc
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from torch import Tensor

from ranksrgan.contracts.client import (
    RemoteScorer,
    RemoteUpscaler,
    connect_scorer,
    connect_upscaler,
)
from ranksrgan.contracts.errors import Overloaded, RankSRGANError
from ranksrgan.contracts.rpc import Services, open_channel, serve, wait_until_healthy
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2, super_resolution_pb2
from ranksrgan.contracts.wire import codec
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture

PROCESSES, THREADS = 4, 4
GROWTH_MIB = 30.0
SIZES = ((1, 32, 40), (1, 64, 64), (2, 48, 80), (1, 96, 64), (4, 32, 32))
SCORING, UPSCALING = (
    f"/ranksrgan.contracts.v1.{service}" for service in ("ScoringService", "SuperResolutionService")
)
CANCELLED, EXPIRED = 0.01, 0.01
#: Of all calls those by the project's clients, and of these the streams.
OURS, STREAMED = 0.4, 0.3
WATCHES = 8


@dataclass(frozen=True)
class Case:
    """One request and the hash of its answer.

    Attributes:
        images: what it holds.
        streamed: the hash of the scores one by one, which differ in their last bits.
    """

    method: str
    request: bytes
    expected: str
    images: Tensor
    streamed: str = ""


class Leaking:
    """A Ranker that keeps what it is given."""

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self._kept: list[Tensor] = []

    @property
    def info(self) -> ScorerInfo:
        return self._ranker.info

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self._kept.append(images.clone())
        return self._ranker.score(images, references)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._kept.append(images.clone())
        return self._ranker.gradient(images, references)


class OneScorer:
    """A catalog of one."""

    def __init__(self, scorer: Ranker | Leaking) -> None:
        self._scorer = scorer

    def infos(self) -> list[ScorerInfo]:
        return [self._scorer.info]

    def open(self, name: str) -> Ranker | Leaking:
        return self._scorer


def models() -> tuple[Ranker, GeneratorUpscaler]:
    """The same in every process."""
    torch.set_num_threads(1)
    network = VGG12(8, torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    generator = GeneratorUpscaler(SRResNet(16, 4), name="model")
    return Ranker(network, higher_is_better=False, name="ranker", device="cpu"), generator


def run_server(address: str, page: str, *, leak: bool) -> int:
    ranker, generator = models()
    scorers = OneScorer(Leaking(ranker)) if leak else RankerCatalog({"ranker": ranker})
    upscalers = UpscalerCatalog({"model": generator})
    servicers = [ScoringServicer(scorers), SuperResolutionServicer(upscalers, upscale_picture)]
    settings = ServerSettings(listen=address, queue=32, metrics=page)
    names = [servicer.full_name for servicer in servicers]
    return serve(settings, names, lambda observers: Services(servicers))


def make_cases() -> list[Case]:
    ranker, generator = models()
    random_numbers = torch.Generator().manual_seed(3)
    cases = []
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width, generator=random_numbers)
        sent = [codec.image_to_proto(image) for image in images]
        asked = scoring_pb2.ScoreRequest(scorer="ranker", images=sent).SerializeToString()
        scores, gradients = ranker.gradient(images)
        singles = _hash(torch.cat([ranker.score(image[None]) for image in images]))
        cases += [
            Case(f"{SCORING}/Score", asked, _hash(ranker.score(images)), images, singles),
            Case(f"{SCORING}/ScoreGradient", asked, _hash(scores, *gradients), images),
        ]
        small = images[..., : height // 2, : width // 2].contiguous()
        request = super_resolution_pb2.UpscaleRequest(
            model="model", images=[codec.image_to_proto(image) for image in small]
        )
        enlarged = _hash(*generator.upscale(small))
        cases.append(Case(f"{UPSCALING}/Upscale", request.SerializeToString(), enlarged, small))
    return cases


def hash_answer(method: str, data: bytes) -> str:
    if method.endswith("/Score"):
        scores = scoring_pb2.ScoreResponse.FromString(data).scores
        return _hash(torch.tensor(list(scores), dtype=torch.float64))
    if method.endswith("/ScoreGradient"):
        answer = scoring_pb2.ScoreGradientResponse.FromString(data)
        scored = torch.tensor(list(answer.scores), dtype=torch.float64)
        return _hash(scored, *map(codec.tensor_from_proto, answer.gradients))
    images = super_resolution_pb2.UpscaleResponse.FromString(data).images
    return _hash(*(_pixels(image) for image in images))


def _pixels(image: image_pb2.Image) -> Tensor:
    return codec.tensor_from_proto(image.tensor)


def _hash(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_clients(
    address: str, cases: list[Case], seed: int, seconds: float, ready: Any, results: Any
) -> None:
    """One process of clients, for so long after all of them are ready."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    ready.wait(600)
    end = time.monotonic() + seconds
    ours = Ours(address)
    with open_channel(address) as channel:

        def client(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            own: Counter[str] = Counter()
            while time.monotonic() < end:
                case = chance.choice(cases)
                if chance.random() < OURS:
                    own[ours.ask(case, chance)] += 1
                else:
                    own[_ask(channel, case, chance)] += 1
            with lock:
                counts.update(own)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    results.put(counts)


def _ask(channel: grpc.Channel, case: Case, chance: random.Random) -> str:
    """Make one call; what became of it."""
    kind = chance.random()
    timeout = chance.uniform(0.0005, 0.01) if kind < EXPIRED else 300.0
    call = channel.unary_unary(case.method).future(case.request, timeout=timeout)
    cancelled = EXPIRED <= kind < EXPIRED + CANCELLED
    if cancelled:
        time.sleep(chance.uniform(0, 0.02))
        call.cancel()
    try:
        right = hash_answer(case.method, call.result()) == case.expected
    except grpc.FutureCancelledError:
        return "cancelled"
    except grpc.RpcError as error:
        code = error.code()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and kind < EXPIRED:
            return "expired"
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            time.sleep(0.05)
            return "refused"
        return f"WRONG: {code.name} {error.details()}"
    return "right" if right else f"WRONG: another answer of {case.method}"


class Ours:
    """The project's clients of one process."""

    def __init__(self, address: str) -> None:
        self._scorer: RemoteScorer = connect_scorer(address, "ranker", timeout=300)
        self._upscaler: RemoteUpscaler = connect_upscaler(address, "model", timeout=300)

    def ask(self, case: Case, chance: random.Random) -> str:
        """Make one call; what became of it."""
        kind, expected, answer = self._call(case, chance)
        try:
            found = answer()
        except Overloaded:
            time.sleep(0.05)
            return "refused"
        except RankSRGANError as error:
            return f"WRONG: {kind} {error!r}"
        if found is None:
            return "stream left halfway"
        return f"right, {kind}" if found == expected else f"WRONG: another answer, {kind}"

    def _call(self, case: Case, chance: random.Random) -> tuple[str, str, Callable[[], str | None]]:
        images = case.images
        if case.streamed and chance.random() < STREAMED:
            stop = chance.random() < CANCELLED + EXPIRED
            return "streamed", case.streamed, lambda: self._stream(images, stop=stop)
        if case.method.endswith("/Score"):
            return "shared memory", case.expected, lambda: _hash(self._scorer.score(images))
        if case.method.endswith("/ScoreGradient"):

            def differentiate() -> str:
                scores, gradients = self._scorer.gradient(images)
                return _hash(scores, *gradients)

            return "shared memory", case.expected, differentiate
        return "shared memory", case.expected, lambda: _hash(*self._upscaler.upscale(images))

    def _stream(self, images: Tensor, *, stop: bool) -> str | None:
        scores = self._scorer.score_many(iter(images))
        found: list[float] = []
        for score in scores:
            if isinstance(score, RankSRGANError):
                raise score
            if stop:
                return None
            found.append(score)
        return _hash(torch.tensor(found, dtype=torch.float64))


def watch(channel: grpc.Channel) -> list[Any]:
    """Watch the health of the server, as gRPC's own clients do that check it."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest()
    return [stub.Watch(request) for _ in range(WATCHES)]  # type: ignore[attr-defined]


def waiting(page: str) -> float:
    """How many calls wait in the server, as it says itself."""
    with urllib.request.urlopen(f"http://{page}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("ranksrgan_queue_len"))


def resident_mib(pid: int) -> float:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--plant-leak", action="store_true", help="the control, which has to fail")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return run_server(*arguments.serve, leak=arguments.plant_leak)
    cases = make_cases()
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/soak.sock"
        with socket.create_server(("127.0.0.1", 0)) as free:
            page = f"127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, __file__, "--serve", address, page]
        if arguments.plant_leak:
            command.append("--plant-leak")
        server = subprocess.Popen(command)
        try:
            if not wait_until_healthy(address, timeout=300):
                raise SystemExit("the server did not come up")
            with open_channel(address) as channel:
                watches = watch(channel)
                try:
                    return _soak(address, page, server.pid, cases, 60 * arguments.minutes)
                finally:
                    for one in watches:
                        one.cancel()
        finally:
            server.terminate()
            server.wait()


def _soak(address: str, page: str, pid: int, cases: list[Case], seconds: float) -> int:
    context = multiprocessing.get_context("spawn")
    results, ready = context.Queue(), context.Barrier(PROCESSES + 1)
    processes = [
        context.Process(target=run_clients, args=(address, cases, seed, seconds, ready, results))
        for seed in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    ready.wait(600)
    began = time.monotonic()
    memory: list[tuple[float, float]] = []
    while (at := time.monotonic() - began) < seconds:
        memory.append((at, resident_mib(pid)))
        time.sleep(0.5)
    counts: Counter[str] = Counter()
    for _ in processes:
        counts.update(results.get(timeout=600))
    for process in processes:
        process.join()
    warm_up = min(300.0, seconds / 3)
    before = [mib for at, mib in memory if warm_up <= at < warm_up + (seconds - warm_up) / 4]
    after = [mib for at, mib in memory if at >= seconds - (seconds - warm_up) / 4]
    growth = statistics.median(after) - statistics.median(before)
    wrong = sum(count for what, count in counts.items() if what.startswith("WRONG"))
    for what, count in counts.most_common():
        print(f"{count:>9}  {what}")
    right = sum(count for what, count in counts.items() if what.startswith("right"))
    print(f"{right / seconds:>9.1f}  right answers a second")
    start = statistics.median(before)
    print(f"{growth:>+9.1f}  MiB of memory after {warm_up:.0f} s, from {start:.0f}")
    left = waiting(page)
    print(f"{left:>9.0f}  calls wait in the end")
    failed = bool(wrong or left) or growth >= GROWTH_MIB or not right
    print("failed" if failed else "passed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
