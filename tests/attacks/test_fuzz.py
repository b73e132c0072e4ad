"""Malformed requests to each service of each server; the whole number is in benchmarks/fuzz.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import struct_pb2

from ranksrgan.contracts.rpc import open_channel
from ranksrgan.contracts.v1 import (
    ranker_training_pb2,
    ranker_training_pb2_grpc,
    scoring_pb2,
)
from tests.attacks.fuzzing import Attack
from tests.attacks.targets import NAMES, PATIENCE, Target, fill_root, serving

pytestmark = pytest.mark.timeout(4 * PATIENCE)

REQUESTS, WARM_UP = 100, 30
#: Of the bar; what a server needs for its first requests of each kind is not counted.
GROWTH_MIB = 30


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    root = tmp_path_factory.mktemp("root")
    fill_root(root)
    with serving(root) as targets:
        yield targets


@pytest.mark.parametrize("name", NAMES)
def test_malformed_requests_get_documented_answers(servers: dict[str, Target], name: str) -> None:
    target = servers[name]
    pid = target.pid
    attack = Attack(target, (str(target.log.parent),))
    try:
        services = attack.services()
        assert len(services) >= 3  # health and reflection are two of them
        attack.warm_up()
        for service in services:
            attack.run(service, WARM_UP, seed=1)
        before = target.memory_mib()
        for service in services:
            findings = attack.run(service, REQUESTS, seed=2)
            assert findings.problems == []
            assert sum(findings.codes.values()) >= REQUESTS
            assert findings.codes["INVALID_ARGUMENT"] > 0
    finally:
        attack.close()
    assert target.pid == pid
    assert target.is_well()
    assert target.memory_mib() - before < GROWTH_MIB
    assert "incident" not in target.log.read_text()


@pytest.mark.parametrize("length", [1_000, 20_000, 2_000_000])
def test_a_name_of_any_length_is_refused_by_its_own_error(
    servers: dict[str, Target], length: int
) -> None:
    """The answer repeats the name, and has to fit into the metadata of a call all the same."""
    with open_channel(servers["metrics"].address) as channel:
        call = channel.unary_unary("/ranksrgan.contracts.v1.ScoringService/Score")
        for letter in ("x", "\N{CRAB}"):
            request = scoring_pb2.ScoreRequest(scorer=letter * (length // len(letter.encode())))
            with pytest.raises(grpc.RpcError) as caught:
                call(request.SerializeToString(), timeout=PATIENCE)
            assert caught.value.code() in (
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.INVALID_ARGUMENT,
            )


def asked_to_train(channel: grpc.Channel, name: str, steps: float) -> operations_pb2.Operation:
    config = struct_pb2.Struct()
    config.update({"width": 2, "batch": 2, "steps": steps, "device": "cpu"})
    request = ranker_training_pb2.TrainRankerRequest(
        ranker_id=name, dataset="datasets/noise", split="train", config=config
    )
    stub = ranker_training_pb2_grpc.RankerTrainingServiceStub(channel)
    operation: operations_pb2.Operation = stub.TrainRanker(request, timeout=PATIENCE)
    return operation


def test_numbers_that_fit_into_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that no message can hold would make the operation, and every list with it, unreadable;
    so would a rest of more than ten thousand years, which the operator has to allow first."""
    monkeypatch.setenv("RANKSRGAN_TRAINING_LIMITS", f"{{steps: {10**40}}}")
    fill_root(tmp_path)
    with (
        serving(tmp_path, ("ranker",)) as servers,
        open_channel(servers["ranker"].address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            asked_to_train(channel, "endless", 1e30)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        operations = operations_pb2_grpc.OperationsStub(channel)
        begun = asked_to_train(channel, "long", 2.0**53)
        metadata = ranker_training_pb2.TrainRankerMetadata()
        end = time.monotonic() + PATIENCE
        while not metadata.HasField("eta") and time.monotonic() < end:
            found = operations.GetOperation(
                operations_pb2.GetOperationRequest(name=begun.name), timeout=PATIENCE
            )
            found.metadata.Unpack(metadata)
            time.sleep(0.1)
        assert metadata.steps == 2**53
        assert metadata.eta.seconds > 10**9
        operations.ListOperations(operations_pb2.ListOperationsRequest(), timeout=PATIENCE)
        operations.CancelOperation(
            operations_pb2.CancelOperationRequest(name=begun.name), timeout=PATIENCE
        )
        while not found.done and time.monotonic() < end:  # or its process would outlive the server
            found = operations.GetOperation(
                operations_pb2.GetOperationRequest(name=begun.name), timeout=PATIENCE
            )
            time.sleep(0.1)
        assert found.done
