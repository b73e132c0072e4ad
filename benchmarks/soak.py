"""Minutes at saturation: is every answer right, and does memory stay? ``python benchmarks/soak.py``

Sixteen clients in four processes ask one server to score, to differentiate and to enlarge images of
several sizes; one call in a hundred is cancelled and one has a deadline that it cannot meet. Each
answer is compared, by its hash, with what this process has computed itself beforehand. Exits with 1
if an answer was wrong, or if the server's memory has grown after the warm-up. ``--plant-leak`` is
the control: a server whose scorer keeps what it is given, which has to fail.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Set before torch is imported: the server and this process compute with one thread each.
os.environ["OMP_NUM_THREADS"] = "1"

import grpc
import torch
from torch import Tensor

from ranksrgan.contracts import codec
from ranksrgan.contracts.rpc import Services, open_channel, serve, wait_until_healthy
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2, super_resolution_pb2
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


@dataclass(frozen=True)
class Case:
    """One request and the hash of its answer."""

    method: str
    request: bytes
    expected: str


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


def run_server(address: str, *, leak: bool) -> int:
    ranker, generator = models()
    scorers = OneScorer(Leaking(ranker)) if leak else RankerCatalog({"ranker": ranker})
    upscalers = UpscalerCatalog({"model": generator})
    servicers = [ScoringServicer(scorers), SuperResolutionServicer(upscalers, upscale_picture)]
    settings = ServerSettings(listen=address, queue=32)
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
        cases += [
            Case(f"{SCORING}/Score", asked, _hash(ranker.score(images))),
            Case(f"{SCORING}/ScoreGradient", asked, _hash(scores, *gradients)),
        ]
        small = images[..., : height // 2, : width // 2].contiguous()
        request = super_resolution_pb2.UpscaleRequest(
            model="model", images=[codec.image_to_proto(image) for image in small]
        )
        enlarged = _hash(*generator.upscale(small))
        cases.append(Case(f"{UPSCALING}/Upscale", request.SerializeToString(), enlarged))
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
    with open_channel(address) as channel:

        def client(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            own: Counter[str] = Counter()
            while time.monotonic() < end:
                own[_ask(channel, chance.choice(cases), chance)] += 1
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


def resident_mib(pid: int) -> float:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--plant-leak", action="store_true", help="the control, which has to fail")
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return run_server(arguments.serve, leak=arguments.plant_leak)
    cases = make_cases()
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/soak.sock"
        command = [sys.executable, __file__, "--serve", address]
        if arguments.plant_leak:
            command.append("--plant-leak")
        server = subprocess.Popen(command)
        try:
            if not wait_until_healthy(address, timeout=300):
                raise SystemExit("the server did not come up")
            return _soak(address, server.pid, cases, 60 * arguments.minutes)
        finally:
            server.terminate()
            server.wait()


def _soak(address: str, pid: int, cases: list[Case], seconds: float) -> int:
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
    print(f"{counts['right'] / seconds:>9.1f}  right answers a second")
    start = statistics.median(before)
    print(f"{growth:>+9.1f}  MiB of memory after {warm_up:.0f} s, from {start:.0f}")
    failed = bool(wrong) or growth >= GROWTH_MIB or not counts["right"]
    print("failed" if failed else "passed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
