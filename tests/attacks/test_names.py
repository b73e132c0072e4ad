"""Names that lead elsewhere, in every place where a client may name something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from ranksrgan.contracts.rpc import open_channel
from ranksrgan.contracts.v1 import (
    generator_training_pb2,
    rank_data_pb2,
    ranker_training_pb2,
    scoring_pb2,
    super_resolution_pb2,
)
from tests.attacks.targets import PATIENCE, Target, fill_root, serving

pytestmark = pytest.mark.timeout(4 * PATIENCE)

OPERATIONS = "google.longrunning.Operations"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    """Servers whose root holds links that lead out of it, beside a folder of the same kind."""
    root, outside = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("secret")
    fill_root(root)
    fill_root(outside)
    for kind, name in (("datasets", "noise"), ("images", "noise")):
        (root / kind / "link").symlink_to(outside / kind / name)
    for kind in ("models", "rankers"):
        (root / kind / "link.safetensors").symlink_to(outside / kind / "tiny.safetensors")
    (root / "rankers" / "folder").symlink_to(outside / "rankers")
    (root / "datasets" / "round").symlink_to(root / "datasets" / "round")
    with serving(root) as targets:
        yield targets


def evil_names(kind: str, outside: Path) -> list[str]:
    return [
        f"{kind}/link",
        f"{kind}/../{kind}/noise",
        f"{kind}/..",
        f"{kind}/.",
        f"{kind}/",
        f"{kind}//noise",
        f"{kind}/noise/",
        f"{kind}/noise/..",
        f"{kind}/noise\0",
        f"{kind}/noise\n",
        f"{kind}/%2e%2e",
        f"{kind}\\noise",
        f"/{kind}/noise",
        f"../root/{kind}/noise",
        f"{outside}/{kind}/noise",
        f"{kind}/~root",
        f"{kind}/.hidden",
        f"{kind}/{'x' * 101}",
        "/dev/zero",
        "/proc/self/environ",
        "file:///etc/passwd",
        "grpc://127.0.0.1:1/niqe",
        "unix:///run/docker.sock/x",
        "",
    ]


BUILD: dict[str, Any] = {
    "hr": "images/noise",
    "levels": ["blurred=blur:1.5", "hr=hr"],
    "metric": "rmse",
    "crop": 48,
}
RANKER: dict[str, Any] = {"width": 2, "batch": 2, "steps": 1, "device": "cpu"}
GENERATOR: dict[str, Any] = {
    "generator": {"features": 4, "blocks": 1},
    "discriminator": None,
    "data": {"hr": "images/noise", "crop": 32, "batch": 2, "workers": 1},
    "run": {"steps": 1, "device": "cpu", "tensorboard": False},
}


def built(name: str = "faces", **changes: Any) -> rank_data_pb2.BuildRankDatasetRequest:
    request = rank_data_pb2.BuildRankDatasetRequest(dataset_id=name)
    request.config.update({**BUILD, **changes})
    return request


def ranker(name: str = "faces", **changes: Any) -> ranker_training_pb2.TrainRankerRequest:
    wanted = {"ranker_id": name, "dataset": "datasets/noise", "split": "train", **changes}
    request = ranker_training_pb2.TrainRankerRequest(**wanted)
    request.config.update(RANKER)
    return request


def generator(name: str = "faces", **changes: Any) -> generator_training_pb2.TrainGeneratorRequest:
    request = generator_training_pb2.TrainGeneratorRequest(generator_id=name)
    config = {section: dict(keys) if keys else keys for section, keys in GENERATOR.items()}
    for section, keys in changes.items():
        config[section] = {**(config.get(section) or {}), **keys}
    request.config.update(config)
    return request


def requests(outside: Path) -> Iterator[tuple[str, str, Any]]:
    """Server, method and request, for every place of a name and every evil name."""
    package = "ranksrgan.contracts.v1"
    data, train, generate = "RankDataService", "RankerTrainingService", "GeneratorTrainingService"
    for name in evil_names("datasets", outside):
        if name:
            yield "rankdata", f"{package}.{data}/GetRankDataset", {"dataset": name}
        for method in ("DescribePairs", "StreamPairs", "StreamContents"):
            yield "rankdata", f"{package}.{data}/{method}", {"dataset": name}
        yield "ranker", f"{package}.{train}/TrainRanker", ranker(dataset=name)
        if name:
            changes = {"validation_dataset": name, "validation_split": "val"}
            yield "ranker", f"{package}.{train}/TrainRanker", ranker(**changes)
    for name in ("..", ".", "", "/", "a/b", "../a", ".a", "a\0", "a\n", "x" * 101, "é", "a b"):
        yield "rankdata", f"{package}.{data}/BuildRankDataset", built(name)
        yield "ranker", f"{package}.{train}/TrainRanker", ranker(name)
        yield "srgan", f"{package}.{generate}/TrainGenerator", generator(name)
    for name in evil_names("images", outside):
        yield "rankdata", f"{package}.{data}/BuildRankDataset", built(hr=name)
        levels = [f"evil={name}", "hr=hr"]
        yield "rankdata", f"{package}.{data}/BuildRankDataset", built(levels=levels)
        crop = {"crop": 32, "batch": 2, "workers": 1}
        for change in ({"data": {"hr": name, **crop}}, {"validation": {"hr": name}}):
            yield "srgan", f"{package}.{generate}/TrainGenerator", generator(**change)
        lr = {"data": {"hr": "images/noise", "lr": name, **crop}}
        yield "srgan", f"{package}.{generate}/TrainGenerator", generator(**lr)
    for name in (*evil_names("models", outside), *evil_names("rankers", outside), "rankers/folder"):
        levels = [f"evil={name}", "hr=hr"]
        yield "rankdata", f"{package}.{data}/BuildRankDataset", built(levels=levels)
        for change in (
            {"generator": {"features": 4, "blocks": 1, "weights": name}},
            {"losses": {"perceptual": {"weight": 1, "network": name}}},
            {"losses": {"rank": {"weight": 1, "rankers": [{"spec": name}]}}},
            {"losses": {"scorers": [{"spec": name}]}},
            {"validation": {"hr": "images/noise", "scorers": [name]}},
        ):
            yield "srgan", f"{package}.{generate}/TrainGenerator", generator(**change)
        yield "metrics", f"{package}.ScoringService/ListScorers", {"scorers": [name]}
        yield "ranker", f"{package}.ScoringService/ListScorers", {"scorers": [name]}
        yield "srgan", f"{package}.SuperResolutionService/ListModels", {"models": [name]}
    for name in evil_names("operations", outside):
        for method in ("GetOperation", "CancelOperation", "DeleteOperation", "WaitOperation"):
            for server in ("rankdata", "ranker", "srgan"):
                yield server, f"{OPERATIONS}/{method}", {"name": name}


def serialized(method: str, request: Any) -> bytes:
    """A request; dicts are of messages whose fields are a name, or names."""
    if not isinstance(request, dict):
        data: bytes = request.SerializeToString()
        return data
    kinds = {
        "GetRankDataset": rank_data_pb2.GetRankDatasetRequest,
        "DescribePairs": rank_data_pb2.DescribePairsRequest,
        "StreamPairs": rank_data_pb2.StreamPairsRequest,
        "StreamContents": rank_data_pb2.StreamContentsRequest,
        "ListScorers": scoring_pb2.ListScorersRequest,
        "ListModels": super_resolution_pb2.ListModelsRequest,
    }
    kind = kinds.get(method.rpartition("/")[2])
    if kind is None:  # an operation's name is field 1 of every request about it
        text = request["name"].encode()
        return (
            b"\x0a"
            + bytes([len(text) & 0x7F | (0x80 if len(text) > 127 else 0)])
            + (bytes([len(text) >> 7]) if len(text) > 127 else b"")
            + text
        )
    whole: bytes = json_format.ParseDict(request, kind()).SerializeToString()
    return whole


def test_no_name_leads_out_of_the_root(servers: dict[str, Target]) -> None:
    root = servers["rankdata"].log.parent
    outside = (root / "datasets" / "link").resolve().parents[1]
    before = {path for path in root.rglob("*") if ".sock" not in path.name}
    channels = {name: open_channel(target.address) for name, target in servers.items()}
    asked = 0
    try:
        for server, method, request in requests(outside):
            data = serialized(method, request)
            call: Any
            if "/Stream" in method:
                stream = channels[server].unary_stream(f"/{method}")
                call = lambda d, s=stream: list(s(d, timeout=PATIENCE))  # noqa: E731
            else:
                unary = channels[server].unary_unary(f"/{method}")
                call = lambda d, u=unary: u(d, timeout=PATIENCE)  # noqa: E731
            with pytest.raises(grpc.RpcError) as caught:
                call(data)
            assert caught.value.code() in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
            ), (method, request, caught.value)
            assert str(root) not in (caught.value.details() or "")
            asked += 1
    finally:
        for channel in channels.values():
            channel.close()
    assert asked > 500
    assert {path for path in root.rglob("*") if ".sock" not in path.name} == before
    for target in servers.values():
        assert target.is_well()
