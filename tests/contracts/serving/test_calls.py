"""Around real calls: tokens, limits, request ids, the access log, loading and draining."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from torch import Tensor

from ranksrgan.contracts import rpc
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidConfig,
    Overloaded,
    ServiceUnavailable,
    Unauthenticated,
)
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, check_health, open_channel
from ranksrgan.contracts.serving import token_file
from ranksrgan.contracts.serving.calls import _code
from ranksrgan.contracts.serving.client_credentials import ClientCredentials
from ranksrgan.contracts.serving.client_limits import ClientLimits
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer
from ranksrgan.contracts.serving.readiness import READY
from ranksrgan.contracts.serving.request_log import JsonFormatter, TextFormatter
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings, TlsSettings
from ranksrgan.contracts.serving.token_file import hash_token
from ranksrgan.contracts.v1 import scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.v1.inference import open_inference_pb2, open_inference_pb2_grpc
from ranksrgan.contracts.wire import codec
from tests.contracts.authority import Authority
from tests.contracts.conftest import Broken, Catalog, Contrast, Slow, in_background
from tests.contracts.trials import until

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
SCORE = "/ranksrgan.contracts.v1.ScoringService/Score"
LIST = "/ranksrgan.contracts.v1.ScoringService/ListScorers"
Start = Callable[..., RunningServer]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Start:
    def start_one(catalog: Catalog | None = None, **settings: object) -> RunningServer:
        wanted = ServerSettings.model_validate({"listen": "127.0.0.1:0", **settings})
        catalog = catalog or Catalog(contrast=Contrast())
        server = rpc.start_server(wanted, [ScoringServicer(catalog)])
        request.addfinalizer(server.stop)
        return server

    return start_one


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"alice {hash_token('a')}\nbob {hash_token('b')}\n")
    return file


class Lines(logging.Handler):
    """What a server logs, as JSON; a call's line may come after its answer, and is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._changed = threading.Condition()
        self._lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self._lines.append(json.loads(self.format(record)))
            self._changed.notify_all()

    def of(self, **facts: object) -> dict[str, object]:
        """The first line with those facts."""

        def found() -> dict[str, object] | None:
            return next((line for line in self._lines if facts.items() <= line.items()), None)

        with self._changed:
            line = self._changed.wait_for(found, 60)
        assert line is not None, self._lines
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("ranksrgan")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


@contextmanager
def stub_of(
    address: str, token: str | None = None
) -> Iterator[scoring_pb2_grpc.ScoringServiceStub]:
    with open_channel(address, ClientCredentials(token=token)) as channel:
        yield scoring_pb2_grpc.ScoringServiceStub(channel)


def trailing(call: grpc.Call) -> dict[str, str | bytes]:
    return dict(call.trailing_metadata())


def test_a_token_is_needed_for_all_but_health(
    start: Start, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(tokens=tokens)
    assert check_health(server.address)
    with pytest.raises(Unauthenticated, match="a token is needed") as caught:
        connect_scorer(server.address, "contrast")
    assert caught.value.field == "authorization"
    with open_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.ServerReflectionInfo(iter([request]), timeout=20))
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", "wrong")
    with pytest.raises(Unauthenticated, match="the token is not known here"):
        connect_scorer(server.address, "contrast")
    monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", "a")
    scorer = connect_scorer(server.address, "contrast")
    assert torch.equal(scorer.score(IMAGES), Contrast().score(IMAGES))
    flat = torch.zeros(3, 4, 4)
    scores = list(scorer.score_many([IMAGES[0], flat, IMAGES[1]]))
    assert [isinstance(score, float) for score in scores] == [True, False, True]


def test_a_client_that_lives_on_sends_the_token_that_its_file_holds_now(
    start: Start, tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("a\n")
    server = start(tokens=tokens)
    request = scoring_pb2.ListScorersRequest()
    with open_channel(server.address, ClientCredentials(token_file=file)) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        assert len(stub.ListScorers(request, timeout=20).scorers) == 1
        tokens.write_text(f"alice {hash_token('another')}\n")
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListScorers(request, timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        file.write_text("another\n")
        assert len(stub.ListScorers(request, timeout=20).scorers) == 1
        file.unlink()  # on its way to be another
        assert len(stub.ListScorers(request, timeout=20).scorers) == 1
    assert "No such file or directory; the token stays the one from before" in caplog.text


def test_a_token_that_is_taken_away_ends_its_streams(
    start: Start, tokens: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "LOOK", 0.0)
    server = start(tokens=tokens)
    image = codec.image_to_proto(IMAGES[0])
    request = scoring_pb2.ScoreStreamRequest(scorer="contrast", image=image)
    sending: dict[str, queue.SimpleQueue[Any]] = {name: queue.SimpleQueue() for name in "ab"}
    with stub_of(server.address, "a") as alice, stub_of(server.address, "b") as bob:
        streams = {
            name: stub.ScoreStream(iter(sending[name].get, None), timeout=60)
            for name, stub in (("a", alice), ("b", bob))
        }

        def score(name: str) -> float:
            sending[name].put(request)
            return next(streams[name]).score

        expected = float(Contrast().score(IMAGES[:1]))
        assert [score("a"), score("b")] == [expected, expected]
        tokens.write_text(f"alice {hash_token('new')}\nbob {hash_token('b')}\n# changed\n")
        with pytest.raises(grpc.RpcError) as caught:
            score("a")
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "the token is not known here any more" in caught.value.details()
        assert score("b") == expected
        line = lines.of(method=SCORE + "Stream")
        assert (line["client"], line["code"]) == ("alice", "UNAUTHENTICATED")
        for name in "ab":
            sending[name].put(None)
        assert list(streams["b"]) == []


def test_a_token_that_is_taken_away_ends_streams_that_are_silent(
    start: Start, tokens: Path, lines: Lines
) -> None:
    server = start(tokens=tokens)
    image = codec.image_to_proto(IMAGES[0])
    request = scoring_pb2.ScoreStreamRequest(scorer="contrast", image=image)
    sending: dict[str, queue.SimpleQueue[Any]] = {name: queue.SimpleQueue() for name in "ab"}
    with stub_of(server.address, "a") as alice, stub_of(server.address, "b") as bob:
        silent = alice.ScoreStream(iter(sending["a"].get, None), timeout=60)
        other = bob.ScoreStream(iter(sending["b"].get, None), timeout=60)
        for name, stream in (("a", silent), ("b", other)):
            sending[name].put(request)
            next(stream)
        tokens.write_text(f"bob {hash_token('b')}\n")
        with pytest.raises(grpc.RpcError) as caught:
            next(silent)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "the token is not known here any more" in caught.value.details()
        line = lines.of(method=SCORE + "Stream")
        assert (line["client"], line["code"]) == ("alice", "UNAUTHENTICATED")
        sending["b"].put(request)
        assert next(other).score == float(Contrast().score(IMAGES[:1]))
        for queued in sending.values():
            queued.put(None)
        assert list(other) == []


def test_what_is_for_operators_is_for_administrators(
    tokens: Path, request: pytest.FixtureRequest
) -> None:
    settings = ServerSettings(listen="127.0.0.1:0", tokens=tokens, administrators=("alice",))
    inference = InferenceServicer(Catalog(contrast=Contrast()), max_pixels=64, managed=None)
    server = rpc.start_server(settings, [inference])
    request.addfinalizer(server.stop)

    def asked_by(token: str) -> tuple[grpc.StatusCode, str]:
        with open_channel(server.address, ClientCredentials(token=token)) as channel:
            stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert stub.ServerLive(open_inference_pb2.ServerLiveRequest(), timeout=20).live
            with pytest.raises(grpc.RpcError) as refused:
                stub.RepositoryIndex(open_inference_pb2.RepositoryIndexRequest(), timeout=20)
        return refused.value.code(), refused.value.details()

    code, text = asked_by("b")
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "for those who administer the server" in text
    code, text = asked_by("a")
    assert code == grpc.StatusCode.UNIMPLEMENTED  # allowed; but there is no repository
    assert "nobody manage its models" in text


def test_a_large_request_without_a_token_is_refused_before_it_is_read(
    start: Start, tokens: Path
) -> None:
    read = threading.Event()

    class Watched(Contrast):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            read.set()
            return super().score(images, references)

    server = start(Catalog(contrast=Watched()), tokens=tokens)
    request = scoring_pb2.ScoreRequest(scorer="contrast" * 10**6)
    with stub_of(server.address) as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Score(request, timeout=20)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert not read.is_set()


def test_a_token_is_not_sent_in_clear_to_other_machines() -> None:
    with pytest.raises(InvalidConfig, match="would cross the network to gpu:1 in clear: use grpcs"):
        open_channel("gpu:1", ClientCredentials(token="a"))
    open_channel("gpu:1", ClientCredentials(token="a", token_in_clear=True)).close()
    open_channel("unix:/no.sock", ClientCredentials(token="a")).close()


def test_a_token_over_tls(
    start: Start, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("server", "127.0.0.1")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)
    server = start(tokens=tokens, tls=tls)
    monkeypatch.setenv("RANKSRGAN_CLIENT_CA", str(authority.certificate))
    monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", "b")
    assert connect_scorer(f"grpcs://{server.address}", "contrast").score(IMAGES).shape == (2,)


@pytest.mark.parametrize(
    ("identities", "common_name", "known_as"),
    [
        (("me@example.org",), "me", "me"),
        (("me@example.org", "other.example"), None, "me@example.org"),
        (("10.1.2.3",), None, "10.1.2.3"),
    ],
)
def test_a_certificate_has_a_name(
    start: Start,
    tmp_path: Path,
    lines: Lines,
    identities: tuple[str, ...],
    common_name: str | None,
    known_as: str,
) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("server", "127.0.0.1")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.certificate)
    server = start(tls=tls)
    me = authority.sign("me", *identities, common_name=common_name)
    shown = ClientCredentials(ca=authority.certificate, certificate=me.certificate, key=me.key)
    with open_channel(f"grpcs://{server.address}", shown) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        stub.ListScorers(scoring_pb2.ListScorersRequest(), timeout=20)
    assert lines.of(method=LIST)["client"] == known_as


def test_reflection_can_be_switched_off(start: Start) -> None:
    server = start(reflection=False)
    with open_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter([request]), timeout=20))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_each_token_has_limits_of_its_own(
    start: Start, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    server = start(Catalog(slow=slow), tokens=tokens, client_limits=ClientLimits(at_a_time=1))

    def scorer(token: str) -> RemoteScorer:
        monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", token)
        return connect_scorer(server.address, "slow")

    alice, bob = scorer("a"), scorer("b")
    first, outcome = in_background(lambda: alice.score(IMAGES))
    assert slow.working.acquire(timeout=60)
    with pytest.raises(Overloaded, match="alice has 1 calls open"):
        alice.score(IMAGES)
    assert scorer("b").info == bob.info  # another's call is answered meanwhile
    slow.release.set()
    first.join(60)
    assert [type(result) for result in outcome] == [Tensor]
    assert bob.score(IMAGES).shape == (2,)


def test_hosts_have_limits_where_there_are_no_tokens(start: Start) -> None:
    server = start(client_limits=ClientLimits(per_minute=2))
    scorer = connect_scorer(server.address, "contrast")
    scorer.score(IMAGES)
    with pytest.raises(Overloaded, match=r"127\.0\.0\.1 has begun 2 calls within a minute"):
        scorer.score(IMAGES)
    assert check_health(server.address)


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("a b", False), ("x" * 200, False), ("", False)]
)
def test_a_sane_request_id_is_kept(start: Start, sent: str, kept: bool) -> None:
    server = start()
    with stub_of(server.address) as stub:
        _, call = stub.ListScorers.with_call(
            scoring_pb2.ListScorersRequest(), timeout=20, metadata=[("x-request-id", sent)]
        )
        request_id = trailing(call)["x-request-id"]
        assert (request_id == sent) is kept
        assert kept or len(request_id) == 32
        # A refusal has one too, and keeps what says why.
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(
                scoring_pb2.ScoreRequest(scorer="none"),
                timeout=20,
                metadata=[("x-request-id", sent)],
            )
        metadata = trailing(caught.value)
        assert (metadata["x-request-id"] == sent) is kept
        assert b"UNKNOWN_NAME" in metadata["grpc-status-details-bin"]
        # And a stream.
        stream = stub.ScoreStream(iter([]), timeout=20, metadata=[("x-request-id", sent)])
        assert list(stream) == []
        assert (trailing(stream)["x-request-id"] == sent) is kept


def test_every_call_is_one_line(start: Start, tokens: Path, lines: Lines) -> None:
    server = start(Catalog(contrast=Contrast()), tokens=tokens)
    image = scoring_pb2.ScoreRequest(scorer="contrast")
    with stub_of(server.address, "a") as stub:
        stub.ListScorers(scoring_pb2.ListScorersRequest(), timeout=20)
        with pytest.raises(grpc.RpcError):
            stub.Score(image, timeout=20, metadata=[("x-request-id", "mine")])
        request = scoring_pb2.ScoreStreamRequest(id="0", scorer="contrast?x=1")
        list(stub.ScoreStream(iter([request]), timeout=20))
    line = lines.of(method=LIST)
    assert (line["code"], line["client"], line["model"]) == ("OK", "alice", "")
    line = lines.of(method=SCORE)
    assert (line["code"], line["model"]) == ("INVALID_ARGUMENT", "contrast")
    assert line["request_id"] == "mine"
    assert line["logger"] == "ranksrgan.access"
    assert isinstance(line["seconds"], float)
    assert 0 < line["seconds"] < 60
    assert lines.of(method=SCORE + "Stream")["model"] == "contrast?x=1"
    with stub_of(server.address, "wrong") as stub, pytest.raises(grpc.RpcError):
        stub.Score(image, timeout=20)
    assert lines.of(code="UNAUTHENTICATED")["client"] == "127.0.0.1"


def test_a_method_that_is_not_there_is_one_line_too(
    start: Start, tokens: Path, lines: Lines
) -> None:
    server = start(tokens=tokens)
    for token, method, code in (
        ("a", "/no.such.Service/Do", "UNIMPLEMENTED"),
        ("a", LIST + "s" * 1000, "UNIMPLEMENTED"),
        ("wrong", "/no.such.Service/Look", "UNAUTHENTICATED"),
    ):
        with open_channel(server.address, ClientCredentials(token=token)) as channel:
            stream = channel.unary_stream(method)(
                b"", metadata=[("x-request-id", "mine")], wait_for_ready=True
            )
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
        assert caught.value.code().name == code
        assert trailing(caught.value)["x-request-id"] == "mine"
        line = lines.of(method=method[:200])
        client = "127.0.0.1" if token == "wrong" else "alice"
        assert (line["code"], line["client"], line["request_id"]) == (code, client, "mine")


def test_a_call_that_its_client_ends_is_logged(start: Start, lines: Lines) -> None:
    slow = Slow()
    server = start(Catalog(slow=slow))
    request = scoring_pb2.ScoreRequest(scorer="slow", images=[codec.image_to_proto(IMAGES[0])])
    with stub_of(server.address) as stub:
        call = stub.Score.future(request)
        assert slow.working.acquire(timeout=60)
        call.cancel()
        assert lines.of(method=SCORE, code="CANCELLED")["model"] == "slow"


class Ending:
    """As much of a call's context as tells how it ends."""

    def __init__(self, active: bool, left: float | None, code: grpc.StatusCode | None) -> None:
        self._active, self._left, self._code = active, left, code

    def is_active(self) -> bool:
        return self._active

    def time_remaining(self) -> float | None:
        return self._left

    def code(self) -> grpc.StatusCode | None:
        return self._code


@pytest.mark.parametrize(
    ("context", "failed", "code"),
    [
        (Ending(True, 5.0, None), False, "OK"),
        (Ending(True, None, None), True, "UNKNOWN"),
        (Ending(True, 5.0, grpc.StatusCode.NOT_FOUND), True, "NOT_FOUND"),
        (Ending(False, 5.0, None), False, "CANCELLED"),
        (Ending(False, None, grpc.StatusCode.CANCELLED), True, "CANCELLED"),
        (Ending(False, 0.0, grpc.StatusCode.CANCELLED), True, "DEADLINE_EXCEEDED"),
        (Ending(False, 0.02, None), False, "DEADLINE_EXCEEDED"),
    ],
)
def test_the_code_of_a_call(context: Ending, failed: bool, code: str) -> None:
    assert _code(context, failed) == code


def test_an_incident_has_the_request_id(start: Start, lines: Lines) -> None:
    server = start(Catalog(broken=Broken()))
    with pytest.raises(InternalError) as caught:
        connect_scorer(server.address, "broken").score(IMAGES)
    incident = str(caught.value).split()[-1]
    access = lines.of(method=SCORE, code="INTERNAL")
    assert access["level"] == "ERROR"
    logged = lines.of(message=f"incident {incident} in {SCORE}")
    assert logged["request_id"] == access["request_id"]
    assert "RuntimeError" in str(logged["exception"])


def test_what_clients_choose_stays_on_its_line() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", ("two\nlines",), None)
    assert TextFormatter().format(record).startswith("INFO a: ")
    assert json.loads(JsonFormatter().format(record))["message"] == "two\nlines"
    assert "\n" not in JsonFormatter().format(record)


def test_health_answers_and_calls_are_refused_while_models_load() -> None:
    names = [ScoringServicer.full_name]
    server = RunningServer(ServerSettings(listen="127.0.0.1:0"), ServerLimits(), names)
    try:
        assert check_health(server.address, "")
        assert not check_health(server.address)
        assert not check_health(server.address, READY)
        assert not check_health(server.address, ScoringServicer.full_name)
        with pytest.raises(ServiceUnavailable, match="ScoringService is still loading"):
            connect_scorer(server.address, "contrast")
        server.offer(rpc.Services([ScoringServicer(Catalog(contrast=Contrast()))]))
        assert check_health(server.address)
        assert check_health(server.address, ScoringServicer.full_name)
        assert connect_scorer(server.address, "contrast").score(IMAGES).shape == (2,)
    finally:
        server.stop()


class Liveness:
    """What the open inference protocol tells of a server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def tells(self) -> tuple[bool, bool]:
        """Whether it lives, and whether it is ready."""
        with open_channel(self._address) as channel:
            stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            live = stub.ServerLive(open_inference_pb2.ServerLiveRequest(), timeout=60).live
            ready = stub.ServerReady(open_inference_pb2.ServerReadyRequest(), timeout=60).ready
        return live, ready


def test_liveness_and_readiness_are_told_while_models_load_and_a_server_drains() -> None:
    names = [InferenceServicer.full_name, ScoringServicer.full_name]
    server = RunningServer(ServerSettings(listen="127.0.0.1:0"), ServerLimits(), names)
    liveness, slow = Liveness(server.address), Slow()
    try:
        assert liveness.tells() == (True, False)
        catalog = Catalog(slow=slow)
        server.offer(rpc.Services([InferenceServicer(catalog), ScoringServicer(catalog)]))
        assert liveness.tells() == (True, True)
        scorer = connect_scorer(server.address, "slow")
        thread, outcome = in_background(lambda: scorer.score(IMAGES))
        assert slow.working.acquire(timeout=60)
        stopping = threading.Thread(target=server.stop, args=(600.0,))
        stopping.start()
        until(lambda: not check_health(server.address))
        assert liveness.tells() == (True, False)
        slow.release.set()
        thread.join(60)
        assert isinstance(outcome[0], Tensor)
        stopping.join(60)
        assert not stopping.is_alive()
    finally:
        slow.release.set()
        server.stop()


def test_who_waits_for_a_job_leaves_readiness_to_others(request: pytest.FixtureRequest) -> None:
    waiting, over = threading.Semaphore(0), threading.Event()

    class Operations(operations_pb2_grpc.OperationsServicer):
        full_name = "google.longrunning.Operations"

        def add_to(self, server: grpc.Server) -> None:
            operations_pb2_grpc.add_OperationsServicer_to_server(self, server)

        def WaitOperation(self, request: object, context: grpc.ServicerContext) -> Any:
            waiting.release()
            assert over.wait(60)
            return operations_pb2.Operation()

    services = [Operations(), InferenceServicer(Catalog(contrast=Contrast()))]
    server = rpc.start_server("127.0.0.1:0", services, ServerLimits(waiters=2))
    request.addfinalizer(server.stop)
    with open_channel(server.address) as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        wanted = operations_pb2.WaitOperationRequest(name="a")
        calls = [stub.WaitOperation.future(wanted, timeout=120) for _ in range(2)]
        assert waiting.acquire(timeout=60)
        assert waiting.acquire(timeout=60)
        with pytest.raises(grpc.RpcError) as refused:
            stub.WaitOperation(wanted, timeout=60)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert Liveness(server.address).tells() == (True, True)
        inference = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = open_inference_pb2.ModelReadyRequest(name="contrast")
        assert inference.ModelReady(asked, timeout=60).ready
        over.set()
        assert [call.result() for call in calls] == [operations_pb2.Operation()] * 2


def test_a_client_with_patience_waits_until_models_are_loaded() -> None:
    names = [ScoringServicer.full_name]
    server = RunningServer(ServerSettings(listen="127.0.0.1:0"), ServerLimits(), names)
    thread, outcome = in_background(
        lambda: connect_scorer(server.address, "contrast", retry_for=60).score(IMAGES)
    )
    try:
        server.offer(rpc.Services([ScoringServicer(Catalog(contrast=Contrast()))]))
        thread.join(60)
    finally:
        server.stop()
    assert isinstance(outcome[0], Tensor)


def test_a_server_that_drains_answers_health_and_what_it_has_begun(start: Start) -> None:
    slow = Slow()
    server = start(Catalog(slow=slow))
    scorer = connect_scorer(server.address, "slow")
    thread, outcome = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=60)
    stopping = threading.Thread(target=server.stop, args=(60.0,))
    stopping.start()
    with pytest.raises(ServiceUnavailable, match="the server is stopping"):
        connect_until_refused(server.address)
    assert check_health(server.address, "")
    assert not check_health(server.address, ScoringServicer.full_name)
    assert not check_health(server.address)
    slow.release.set()
    thread.join(60)
    stopping.join(60)
    assert isinstance(outcome[0], Tensor)
    assert not stopping.is_alive()


def connect_until_refused(address: str) -> None:
    while True:  # the thread that stops the server may not have begun to
        connect_scorer(address, "slow")


def test_grace_ends(start: Start) -> None:
    slow = Slow()
    server = start(Catalog(slow=slow))
    scorer = connect_scorer(server.address, "slow")
    thread, outcome = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=60)
    server.stop(0.2)
    thread.join(60)
    assert isinstance(outcome[0], ServiceUnavailable)


def test_nothing_is_offered_after_the_end() -> None:
    started = threading.Event()

    class Jobs:
        def start(self) -> None:
            started.set()

        def stop(self, grace: float) -> None: ...

    server = RunningServer(ServerSettings(listen="127.0.0.1:0"), ServerLimits(), [])
    server.stop()
    server.offer(rpc.Services([], Jobs()))
    assert not started.is_set()
