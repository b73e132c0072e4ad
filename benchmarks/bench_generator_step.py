"""A step of RankSRGAN against a step of SRGAN on the same batch, the Ranker here or in a service.

The networks have the published sizes unless told otherwise, VGG19 and the Ranker with random
weights, which cost the same. The steps are whole ones of the training's own `Step` on batches that
lie ready, taken in turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from ranksrgan.contracts import heaps
from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16
from ranksrgan.contracts.processes import Processes
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.ranker import VGG, Ranker, RankerCatalog
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import Batch
from ranksrgan.srgan.training.features import FeatureNetwork, open_feature_network
from ranksrgan.srgan.training.objective import Objective
from ranksrgan.srgan.training.state import Training
from ranksrgan.srgan.training.step import Step

# Steps before any is counted: a step that is recorded as a CUDA graph is so with the third.
_WARM_UP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=296)
    parser.add_argument("--width", type=int, default=64, help="of all networks but VGG19")
    parser.add_argument("--blocks", type=int, default=16, help="of the generator")
    parser.add_argument("--rounds", type=int, default=7, help="of each kind, after four to warm up")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--no-graph", dest="graph", action="store_false", help="record no step as a CUDA graph"
    )
    given = parser.parse_args()
    heaps.keep_for_a_command()  # as the command that trains does
    device = choose_device(given.device)
    with tempfile.TemporaryDirectory() as scratch:
        features = open_feature_network(str(random_vgg19(Path(scratch))), device)
        address = f"unix:{scratch}/ranker.sock"
        ours, theirs = multiprocessing.Pipe()
        service = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(address, given, torch.get_num_threads(), theirs),
        )
        with mock.patch.dict(os.environ, GOMP_SPINCOUNT="10000"):  # as deploy/ starts servers
            service.start()
        ours.recv()  # it listens
        remote = connect_scorer(address, "ranker")
        if not isinstance(remote, DifferentiableScorer):
            raise TypeError("the service shows no gradient")
        steps = {
            "SRGAN": _step(given, device, features, None),
            "RankSRGAN, Ranker in process": _step(given, device, features, _ranker(given)),
            "RankSRGAN, Ranker in a service": _step(given, device, features, remote),
        }
        times = _in_turns(steps, _batch(given), given.rounds, device)
        ours.send("done")
        service.join()
    print(
        f"crops of {given.crop}, batch {given.batch}, {given.blocks} blocks, width {given.width}, "
        f"{device}, {given.precision}, {torch.get_num_threads()} threads, medians of {given.rounds}"
    )
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, seconds in medians.items():
        print(f"{name:<34}{1e3 * seconds:>10.1f} ms a step")
    srgan, here, served = medians.values()
    print(f"{'RankSRGAN / SRGAN':<34}{here / srgan:>10.3f}")
    print(f"{'service / in process':<34}{served / here:>10.3f}")


def _in_turns(
    steps: dict[str, Step], batch: Batch, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + _WARM_UP):
        for name, step in steps.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            began = time.perf_counter()
            step(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - began)
    return {name: found[_WARM_UP:] for name, found in times.items()}


def _step(
    given: argparse.Namespace,
    device: torch.device,
    features: FeatureNetwork,
    ranker: DifferentiableScorer | None,
) -> Step:
    losses: dict[str, Any] = {
        "pixel": {"weight": 0.0},
        "perceptual": {"weight": 1.0},
        "adversarial": {"weight": 0.005},
        "rank": {"weight": 0.24 if ranker else 0.0},
    }
    config = TrainConfig.model_validate(
        {
            "generator": {"features": given.width, "blocks": given.blocks},
            "discriminator": {"width": given.width},
            "data": {"crop": given.crop, "batch": given.batch},
            "losses": losses,
            "run": {"compile": given.compile, "graph": given.graph},
        }
    )
    objective = Objective(config, [(ranker, 1.0)] if ranker else [], features)
    training = Training.start(config, device)
    bfloat16 = computes_in_bfloat16(given.precision, device)
    return Step(training, objective, Processes(0, 1, device), bfloat16)


def _batch(given: argparse.Namespace) -> Batch:
    random = torch.Generator().manual_seed(0)
    hr = torch.randint(256, (given.batch, 3, given.crop, given.crop), generator=random)
    return Batch(hr[:, :, ::4, ::4].byte().contiguous(), hr.byte())


def _ranker(given: argparse.Namespace) -> Ranker:
    network = VGG(12, given.width, torch.Generator().manual_seed(0))
    return Ranker(
        network,
        higher_is_better=False,
        name="ranker",
        device=given.device,
        precision=given.precision,
    )


def _serve(address: str, given: argparse.Namespace, threads: int, done: Connection) -> None:
    torch.set_num_threads(threads)
    servicer = ScoringServicer(RankerCatalog({"ranker": _ranker(given)}))
    heaps.keep_for_a_server()
    server = start_server(address, [servicer])
    done.send("ready")
    done.recv()
    server.stop()


def random_vgg19(folder: Path) -> Path:
    """Random weights under torchvision's keys."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    index, inputs = 0, 3
    for widths in ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4):
        for outputs in widths:
            layers[f"features_{index}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            index, inputs = index + 2, outputs
        index += 1
    weights = nn.Sequential(layers).state_dict()
    path = folder / "vgg19.pth"
    torch.save({key.replace("_", ".", 1): value for key, value in weights.items()}, path)
    return path


if __name__ == "__main__":
    main()
