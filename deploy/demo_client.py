"""A client of the services: scores an image and enlarges it with every model that is served. Of a
large one it takes the middle.

    python deploy/demo_client.py [--metrics ADDRESS] [--ranker ADDRESS] [--srgan ADDRESS] [IMAGE]

`deploy/local.sh demo` says where the services are. Without an image it takes a photograph that
scikit-image ships. What it does is all that a program of yours has to do: it needs the package
ranksrgan-contracts and none of the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from ranksrgan.contracts import console, open_scorer, open_upscaler
from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.errors import InvalidImage, InvalidInput, NotSupported
from ranksrgan.contracts.images import as_float, read_image, to_tensor
from ranksrgan.contracts.v1 import (
    scoring_pb2,
    scoring_pb2_grpc,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)

METRIC = "niqe"
#: Longest side that is scored and enlarged: a demonstration is not to take minutes.
LONGEST = 256


def main() -> int:
    parser = argparse.ArgumentParser(description="Have an image scored and enlarged by services.")
    for service in ("metrics", "ranker", "srgan"):
        parser.add_argument(f"--{service}", metavar="ADDRESS", help="HOST:PORT or unix:PATH")
    parser.add_argument("image", nargs="?", type=Path, help="default: a photograph")
    arguments = parser.parse_args()
    return console.run(lambda: ask(arguments))


def ask(arguments: argparse.Namespace) -> int:
    """Ask every service that has an address, and tell what it says."""
    path = arguments.image or photograph()
    image = to_tensor(read_image(path))
    say(f"{path.name}: {size(image)} pixels")
    part = middle(image)
    if part.shape != image.shape:
        say(f"only its middle of {size(part)} pixels is scored and enlarged")
    if arguments.metrics:
        score(arguments.metrics, METRIC, part)
    for name in rankers(arguments.ranker) if arguments.ranker else []:
        score(arguments.ranker, name, part)
    for name in models(arguments.srgan) if arguments.srgan else []:
        began = time.perf_counter()
        large = open_upscaler(spec(arguments.srgan, name)).upscale(as_float(part))
        seconds = time.perf_counter() - began
        say(f"{name}: {size(part)} enlarged to {size(large)} in {seconds:.2f} s")
        if arguments.metrics:
            score(arguments.metrics, METRIC, large.clamp(0, 1))
    return 0


def middle(image: Tensor) -> Tensor:
    """An image (N, C, H, W), or what is in its middle where it is larger than `LONGEST`."""
    top, left = (max(0, side - LONGEST) // 2 for side in image.shape[-2:])
    return image[..., top : top + LONGEST, left : left + LONGEST]


def size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]}"


def score(address: str, name: str, image: Tensor) -> None:
    """Print a scorer's value for one image, or why it has none: it may be too small."""
    scorer = open_scorer(spec(address, name))
    direction = "higher" if scorer.info.higher_is_better else "lower"
    try:
        say(f"  {name} {scorer.score(image).item():.4f} ({direction} is better)")
    except InvalidImage as error:
        say(f"  {name}: {error}")


def rankers(address: str) -> list[str]:
    """What the Ranker service serves; nothing if it only trains."""
    connection = connect(address)
    stub = scoring_pb2_grpc.ScoringServiceStub(connection.channel())
    try:
        answer = connection.call(stub.ListScorers, scoring_pb2.ListScorersRequest())
    except NotSupported:
        return []
    return [scorer.name for scorer in answer.scorers]


def models(address: str) -> list[str]:
    """What the generators' service serves; nothing if it only trains."""
    connection = connect(address)
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    try:
        answer = connection.call(stub.ListModels, super_resolution_pb2.ListModelsRequest())
    except NotSupported:
        return []
    return [model.name for model in answer.models]


def connect(address: str) -> Connection:
    return Connection(address, timeout=10.0, retry_for=0.0)


def spec(address: str, name: str) -> str:
    """What opens a thing behind a service."""
    scheme = address.replace("unix:", "unix://", 1) if address.startswith("unix:") else ""
    return f"{scheme or f'grpc://{address}'}/{name}"


def photograph() -> Path:
    """One that scikit-image ships."""
    try:
        path = Path(str(files("skimage") / "data" / "astronaut.png"))
    except ModuleNotFoundError as error:
        raise InvalidInput("name an IMAGE: scikit-image is not here", field="image") from error
    if not path.is_file():
        raise InvalidInput("name an IMAGE: scikit-image ships no astronaut.png", field="image")
    return path


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
