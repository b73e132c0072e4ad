"""Clients without a token, or with bad manners, against health and reflection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.rpc import (
    RunningServer,
    ServerLimits,
    Services,
    check_health,
    health_problem,
)
from ranksrgan.contracts.serving import standard_services, waits
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from tests.contracts.conftest import Catalog, Contrast, Slow, StartServer, in_background
from tests.contracts.trials import until
from tests.contracts.watcher import PATIENCE

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


@contextmanager
def health_of(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def watching(stub: Any, service: str = "") -> Any:
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


def start_empty() -> RunningServer:
    names = [ScoringServicer.full_name]
    return RunningServer(ServerSettings(listen="127.0.0.1:0"), ServerLimits(), names)


def is_answered(address: str) -> None:
    assert check_health(address, timeout=PATIENCE)
    scorer = connect_scorer(address, "contrast", timeout=PATIENCE)
    assert torch.equal(scorer.score(IMAGES), Contrast().score(IMAGES))


def test_more_watches_than_threads_disturb_nobody(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    with health_of(server.address) as stub:
        watches = [watching(stub) for _ in range(ServerLimits().calls + 30)]
        assert [next(watch).status for watch in watches] == [SERVING] * len(watches)
        is_answered(server.address)


def test_a_watch_hears_what_becomes_of_the_server() -> None:
    server, slow = start_empty(), Slow()
    try:
        with health_of(server.address) as stub:
            watches = [watching(stub, name) for name in ("", "ready", "nobody")]
            heard = [next(watch).status for watch in watches]
            assert heard == [SERVING, NOT_SERVING, UNKNOWN]
            server.offer(Services([ScoringServicer(Catalog(slow=slow))]))
            assert next(watches[1]).status == SERVING
            scorer = connect_scorer(server.address, "slow", timeout=PATIENCE)
            working, outcome = in_background(lambda: scorer.score(IMAGES))
            assert slow.working.acquire(timeout=PATIENCE)
            stopping = threading.Thread(target=server.stop, args=(PATIENCE,))
            stopping.start()
            assert next(watches[1]).status == NOT_SERVING
            slow.release.set()
            for thread in (stopping, working):
                thread.join(PATIENCE)
                assert not thread.is_alive()
            assert isinstance(outcome[0], torch.Tensor)
            assert end_of(watches[1]) == grpc.StatusCode.UNAVAILABLE
    finally:
        slow.release.set()
        server.stop()


def test_watches_come_and_go_at_once(start: StartServer) -> None:
    """The health service of grpc_health stops its server for ever here."""
    server = start(ScoringServicer(Catalog(contrast=Contrast())))

    def come_and_go() -> None:
        with health_of(server.address) as stub:
            for _ in range(30):
                watch = watching(stub)
                next(watch)
                watch.cancel()

    threads = [threading.Thread(target=come_and_go, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    is_answered(server.address)
    until(lambda: server._checks.watches == 0)  # gRPC tells a moment after the client's end


@contextmanager
def half_open(address: str, method: str, number: int) -> Iterator[list[Any]]:
    """Calls whose requests do not come, on one connection; they end with the block."""
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        never.wait(4 * PATIENCE)
        yield b""

    with grpc.insecure_channel(address) as channel:
        yield [channel.stream_unary(method).future(requests()) for _ in range(number)]
        never.set()


@pytest.mark.parametrize("method", [CHECK, WATCH])
def test_requests_of_health_that_do_not_come_keep_nobody_waiting(
    start: StartServer, method: str
) -> None:
    """Each of them may take 5 s, and there are many more than threads."""
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    with half_open(server.address, method, 100) as calls:
        while not any(call.done() for call in calls):
            assert health_problem(server.address) is None  # within its 2 s
        first = next(call for call in calls if call.done())
        assert first.code() == grpc.StatusCode.UNAVAILABLE
        assert "too many requests of health" in first.details()
        is_answered(server.address)


def test_a_request_of_health_has_to_come_in_time(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_services, "_HEALTH_REQUEST", 0.2)
    monkeypatch.setattr(waits, "_LOOK", 0.05)
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    for method in (CHECK, WATCH):
        with half_open(server.address, method, 3) as calls:
            assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            assert calls[0].details() == "the request did not come within 0.2 s"


def end_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as ended:
        list(call)
    code: grpc.StatusCode = ended.value.code()
    return code


def test_streams_of_reflection_are_few_and_end(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_services, "_REFLECTION_REQUEST", 0.5)
    monkeypatch.setattr(waits, "_LOOK", 0.05)
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    never = threading.Event()

    def requests() -> Iterator[Any]:
        yield request
        never.wait(PATIENCE)

    with grpc.insecure_channel(server.address) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        asked = [ask(requests()) for _ in range(100)]
        is_answered(server.address)
        codes = [end_of(call) for call in asked]
        late, full = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED
        assert set(codes) == {late, full}
        assert codes.count(late) >= standard_services.REFLECTIONS
        never.set()
        (answer,) = ask(iter([request]))  # there is room again
    services = [service.name for service in answer.list_services_response.service]
    assert ScoringServicer.full_name in services
