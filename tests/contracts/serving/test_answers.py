"""Answers that nobody reads: they end, they are counted, and there is room for so many."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import torch

from ranksrgan.contracts import rpc
from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.errors import Overloaded
from ranksrgan.contracts.rpc import RunningServer, ServerLimits
from ranksrgan.contracts.serving import answers, waits
from ranksrgan.contracts.serving.answers import Answers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.v1 import scoring_pb2
from ranksrgan.contracts.wire import codec
from tests.contracts.conftest import Catalog, Contrast, StartServer
from tests.contracts.trials import until
from tests.contracts.unread import UnreadCalls
from tests.contracts.watcher import PATIENCE, Watcher

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
CHECK = "/grpc.health.v1.Health/Check"
LIST = "/ranksrgan.contracts.v1.ScoringService/ListScorers"
SCORE = "/ranksrgan.contracts.v1.ScoringService/Score"
SCORED = scoring_pb2.ScoreRequest(
    scorer="contrast", images=[codec.image_to_proto(image) for image in IMAGES]
).SerializeToString()


@pytest.mark.parametrize(("method", "request_"), [(SCORE, SCORED), (LIST, b""), (CHECK, b"")])
def test_an_answer_that_is_not_read_ends(
    start: StartServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    request_: bytes,
) -> None:
    caplog.set_level(logging.INFO, "ranksrgan")
    monkeypatch.setattr(waits, "_LOOK", 0.02)
    limits = ServerLimits(workers=1, queue=0, arrival=1.0)
    server = start(ScoringServicer(Catalog(contrast=Contrast())), limits=limits)
    with UnreadCalls(server.address) as unread:
        end = unread.end(unread.call(method, request_))
    assert b"grpc-status\x014" in end  # DEADLINE_EXCEEDED
    assert b"the answer was not read within 1 s" in end
    client = "somebody" if method == CHECK else "127.0.0.1"
    line = f"a call of {client} ended after all: the answer was not read within 1 s"
    until(lambda: line in caplog.messages)


def test_where_too_many_are_not_read_the_oldest_end(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.02)
    monkeypatch.setattr(answers, "_LEAST", 0.0)
    monkeypatch.setattr(answers, "_MESSAGES", 1)
    watcher = Watcher()
    limits = ServerLimits(max_message_bytes=2**16, arrival=PATIENCE)  # of three calls
    server = start(
        ScoringServicer(Catalog(contrast=Contrast())), limits=limits, observers=[watcher]
    )
    with UnreadCalls(server.address) as client:
        calls = [client.call(SCORE, SCORED) for _ in range(5)]
        end = client.end(calls[1])
        assert b"too many answers are not read" in client.end(calls[0]) + end
        assert client.ended() == calls[:2]
    assert watcher.requests == [("Score", "OK")] * 5
    scorer = connect_scorer(server.address, "contrast", timeout=PATIENCE)
    assert torch.equal(scorer.score(IMAGES), Contrast().score(IMAGES))


@pytest.mark.parametrize(("size", "seconds"), [(0, 60.0), (1000, 120.0), (4000, 300.0)])
def test_a_long_answer_has_more_time(
    monkeypatch: pytest.MonkeyPatch, size: int, seconds: float
) -> None:
    monkeypatch.setattr(answers, "_PACE", 1000)
    looked_after: list[Any] = []
    taken = SimpleNamespace(taken=lambda *what: looked_after.append(what))
    limits = ServerLimits(max_message_bytes=1000, arrival=60.0)
    around = Answers(limits, taken)  # type: ignore[arg-type]
    handler: Any = grpc.unary_unary_rpc_method_handler(
        lambda request, context: bytes(size), response_serializer=bytes
    )
    surrounded: Any = around.intercept_service(lambda details: handler, SimpleNamespace())
    response = surrounded.unary_unary(b"", "the call")
    assert not looked_after
    assert surrounded.response_serializer(response) == bytes(size)
    ((context, within, _, held, least, client),) = looked_after
    assert (context, within, client) == ("the call", seconds, "")
    assert least == pytest.approx(seconds / 30)
    assert held == size + 2**14


@pytest.fixture
def one_at_a_time() -> Iterator[RunningServer]:
    settings = {"listen": "127.0.0.1:0", "client_limits": {"at_a_time": 1}}
    servicer = ScoringServicer(Catalog(contrast=Contrast()))
    server = rpc.start_server(ServerSettings.model_validate(settings), [servicer])
    yield server
    server.stop()


def test_a_call_is_open_until_its_answer_is_read(
    one_at_a_time: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_SOON", 0.05)
    scorer = connect_scorer(one_at_a_time.address, "contrast", retry_for=0)
    with UnreadCalls(one_at_a_time.address) as client:
        client.call(SCORE, SCORED)
        until(lambda: refusal(scorer) is not None)
        assert refusal(scorer) == (
            "127.0.0.1 has 1 calls open, 1 of them with answers that it does not read, and 1 at a "
            "time is what one client may have; try again when one has ended"
        )
    until(lambda: refusal(scorer) is None)


def test_who_reads_each_answer_is_not_refused_the_next_call(one_at_a_time: RunningServer) -> None:
    scorer = connect_scorer(one_at_a_time.address, "contrast", retry_for=0)
    assert [refusal(scorer) for _ in range(100)] == [None] * 100


def refusal(scorer: Any) -> str | None:
    try:
        scorer.score(IMAGES)
    except Overloaded as error:
        return error.message
    return None
