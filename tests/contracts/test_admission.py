"""A real server with more to do than it takes on: refusals, deadlines, calls that end, draining."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from torch import Tensor

from ranksrgan.contracts.client import Connection, connect_scorer
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    Overloaded,
    ServiceUnavailable,
)
from ranksrgan.contracts.rpc import (
    ServerLimits,
    check_health,
    open_channel,
    wait_until_healthy,
)
from ranksrgan.contracts.serving import waits
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.tickets import SOON
from ranksrgan.contracts.v1 import scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec, error_codec
from tests.contracts.conftest import Catalog, Contrast, Slow, StartServer, in_background
from tests.contracts.trials import until
from tests.contracts.watcher import PATIENCE, Watcher

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def test_a_refusal_says_when_to_come_back(start: StartServer) -> None:
    slow, watcher = Slow(), Watcher()
    limits = ServerLimits(workers=1, queue=0)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits, observers=[watcher])
    scorer = connect_scorer(server.address, "slow")  # took some milliseconds inside
    thread, outcome = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    with pytest.raises(Overloaded, match="1 requests are worked on or wait") as caught:
        scorer.score(IMAGES)
    assert caught.value.retry_after is not None
    assert 0.01 <= caught.value.retry_after <= PATIENCE
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failure:
            stub.Score(scoring_pb2.ScoreRequest(scorer="slow"), timeout=PATIENCE)
    status = rpc_status.from_call(failure.value)
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.retry_delay.ToTimedelta().total_seconds() >= 0.01
    slow.release.set()
    thread.join(PATIENCE)
    assert isinstance(outcome[0], Tensor)
    watcher.until(lambda: len(watcher.requests) == 4)
    assert sorted(watcher.requests) == [
        ("ListScorers", "OK"),
        ("Score", "OK"),
        ("Score", "RESOURCE_EXHAUSTED"),
        ("Score", "RESOURCE_EXHAUSTED"),
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.25, 90.0])
def test_the_time_to_wait_crosses_the_wire(seconds: float) -> None:
    error = error_codec.error_from_status(
        error_codec.error_to_proto(Overloaded("full", retry_after=seconds))
    )
    assert isinstance(error, Overloaded)
    assert error.retry_after == seconds
    item = error_codec.item_error_from_proto(
        error_codec.item_error_to_proto(Overloaded("full", retry_after=seconds))
    )
    assert isinstance(item, Overloaded)
    assert item.retry_after == seconds


def test_no_time_to_wait_crosses_the_wire_where_none_is_known() -> None:
    silent = Overloaded("full")
    for error in (
        error_codec.error_from_status(error_codec.error_to_proto(silent)),
        error_codec.item_error_from_proto(error_codec.item_error_to_proto(silent)),
    ):
        assert isinstance(error, Overloaded)
        assert error.retry_after is None
        assert str(error) == "full"


def test_patience_waits_for_room(start: StartServer) -> None:
    slow, watcher = Slow(), Watcher()
    limits = ServerLimits(workers=1, queue=0)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits, observers=[watcher])
    patient = connect_scorer(server.address, "slow", retry_for=PATIENCE)
    first, one = in_background(lambda: patient.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    second, other = in_background(lambda: patient.score(IMAGES))
    watcher.until(lambda: ("Score", "RESOURCE_EXHAUSTED") in watcher.requests)
    slow.release.set()
    for thread, outcome in ((first, one), (second, other)):
        thread.join(PATIENCE)
        assert isinstance(outcome[0], Tensor)


class Refused(grpc.RpcError):
    """What a client sees of a full server."""

    def __init__(self, retry_after: float | None) -> None:
        self._status = error_codec.error_to_proto(Overloaded("full", retry_after=retry_after))


@pytest.mark.parametrize(("retry_after", "calls"), [(0.02, 2), (60.0, 1), (None, 1)])
def test_patience_is_for_a_time_that_is_known_and_not_too_long(
    monkeypatch: pytest.MonkeyPatch, retry_after: float | None, calls: int
) -> None:
    made: list[float] = []

    def work() -> str:
        made.append(time.monotonic())
        if len(made) == 1:
            raise Refused(retry_after)
        return "done"

    def refusal(failure: Refused, address: str) -> Exception:
        return error_codec.error_from_status(failure._status)

    monkeypatch.setattr(error_codec, "error_from_proto", refusal)
    connection = Connection("host:1", timeout=1, retry_for=5)
    if calls == 1:
        with pytest.raises(Overloaded, match="full"):
            connection.attempt(work)
    else:
        assert connection.attempt(work) == "done"
        assert made[1] - made[0] >= 0.02
    assert len(made) == calls


def test_a_full_server_does_not_wait_for_the_request(start: StartServer) -> None:
    """It refuses a call whose request never comes."""
    slow = Slow()
    limits = ServerLimits(workers=1, queue=0)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits)
    scorer = connect_scorer(server.address, "slow")
    thread, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        never.wait(PATIENCE)
        yield b""

    with open_channel(server.address) as channel:
        score = channel.stream_unary("/ranksrgan.contracts.v1.ScoringService/Score")
        call = score.future(requests(), timeout=PATIENCE)
        assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not never.is_set()
        never.set()
    slow.release.set()
    thread.join(PATIENCE)


def test_a_refusal_takes_no_thread_of_the_pool(start: StartServer) -> None:
    """The way to one and back is half of what a refusal costs."""

    class Threads(Watcher):
        def request(self, method: str, code: str, seconds: float) -> None:
            names[code].append(threading.current_thread().name)
            super().request(method, code, seconds)

    names: dict[str, list[str]] = {"OK": [], "RESOURCE_EXHAUSTED": []}
    slow, threads = Slow(), Threads()
    limits = ServerLimits(workers=1, queue=0)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits, observers=[threads])
    scorer = connect_scorer(server.address, "slow")
    thread, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    for _ in range(2):
        with pytest.raises(Overloaded):
            scorer.score(IMAGES)
    slow.release.set()
    thread.join(PATIENCE)
    threads.until(lambda: len(threads.requests) == 4)
    assert all(name.startswith("rpc") for name in names["OK"])
    assert len(names["RESOURCE_EXHAUSTED"]) == 2
    assert not any(name.startswith("rpc") for name in names["RESOURCE_EXHAUSTED"])


def half_open(channel: grpc.Channel, method: str, end: threading.Event) -> grpc.Future:
    """A call that sends nothing before ``end``."""

    def requests() -> Iterator[bytes]:
        end.wait(PATIENCE)
        yield b""

    future: grpc.Future = channel.stream_unary(f"/ranksrgan.contracts.v1.{method}").future(
        requests(), timeout=4 * PATIENCE
    )
    return future


@pytest.mark.parametrize("method", ["ScoringService/Score", "ScoringService/ListScorers"])
def test_calls_that_send_nothing_leave_the_room_to_others(start: StartServer, method: str) -> None:
    server = start(
        ScoringServicer(Catalog(contrast=Contrast())), limits=ServerLimits(workers=1, queue=1)
    )
    scorer, never = connect_scorer(server.address, "contrast", timeout=PATIENCE), threading.Event()
    with open_channel(server.address) as channel:
        calls = [half_open(channel, method, never) for _ in range(2)]
        until(lambda: server._admission._tickets.left == 0)
        time.sleep(SOON)
        calls += [half_open(channel, method, never) for _ in range(2)]
        tickets = server._admission._tickets
        until(lambda: len(tickets._slow) + len(tickets._coming) == 4)  # ours would take the last
        end = time.monotonic() + PATIENCE
        while True:  # for a second they might still send something
            try:
                scores = scorer.score(IMAGES)
            except Overloaded:
                assert time.monotonic() < end
            else:
                break
        assert torch.equal(scores, Contrast().score(IMAGES))
        assert [call.done() for call in calls[:2]] == [False, False]
        # More are not waited for if others come.
        until(lambda: any(call.done() for call in calls[2:]))
        codes = {call.code() for call in calls[2:] if call.done()}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        never.set()
        assert {call.code() for call in calls[:2]} <= {  # late, they are read as any other
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.OK,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }


@pytest.mark.parametrize("method", ["ScoringService/Score", "ScoringService/ScoreStream"])
def test_a_request_has_to_come_in_time(
    start: StartServer, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.05)
    watcher = Watcher()
    limits = ServerLimits(workers=1, queue=0, streams=1, arrival=0.2)
    server = start(
        ScoringServicer(Catalog(contrast=Contrast())), limits=limits, observers=[watcher]
    )
    never = threading.Event()
    with open_channel(server.address) as channel:
        call = half_open(channel, method, never)
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.details() == "the request did not come within 0.2 s"
        never.set()
    name = method.partition("/")[2]
    watcher.until(lambda: (name, "DEADLINE_EXCEEDED") in watcher.requests)
    scorer = connect_scorer(server.address, "contrast", timeout=PATIENCE)
    assert list(scorer.score_many([IMAGES[0]])) == Contrast().score(IMAGES).tolist()[:1]


@pytest.mark.parametrize("method", ["ScoringService/Score", "ScoringService/ScoreStream"])
def test_a_server_that_stops_does_not_wait_for_requests_that_have_not_come(
    start: StartServer, method: str
) -> None:
    watcher, never = Watcher(), threading.Event()
    server = start(ScoringServicer(Catalog(contrast=Contrast())), observers=[watcher])
    with open_channel(server.address) as channel:
        call = half_open(channel, method, never)
        until(lambda: server._readiness._open == 1)
        stopping = threading.Thread(target=server.stop, args=(10 * PATIENCE,))
        stopping.start()
        assert call.code() == grpc.StatusCode.UNAVAILABLE
        assert call.details() == "the server is stopping"
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
        never.set()
    assert watcher.requests == [(method.partition("/")[2], "UNAVAILABLE")]


def test_a_call_without_a_request_is_a_mistake(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    with open_channel(server.address) as channel:
        score = channel.stream_unary("/ranksrgan.contracts.v1.ScoringService/Score")
        call = score.future(iter([]), timeout=PATIENCE)
        assert call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "the request is missing" in call.details()


def test_a_cancelled_call_leaves_the_queue_and_makes_room(start: StartServer) -> None:
    slow, watcher = Slow(), Watcher()
    limits = ServerLimits(workers=1, queue=1)
    catalog = Catalog(slow=slow, contrast=Contrast())
    server = start(ScoringServicer(catalog), limits=limits, observers=[watcher])
    scorer = connect_scorer(server.address, "slow")
    thread, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    images = [codec.image_to_proto(image) for image in IMAGES]
    request = scoring_pb2.ScoreRequest(scorer="contrast", images=images)
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        waiting = stub.Score.future(request, timeout=PATIENCE)
        watcher.until(lambda: watcher.waiting("contrast") == 1)
        waiting.cancel()
        watcher.until(lambda: watcher.waiting("contrast") == 0)
        watcher.until(lambda: ("Score", "CANCELLED") in watcher.requests)
        again = stub.Score.future(request, timeout=PATIENCE)  # although nothing was done meanwhile
        watcher.until(lambda: watcher.waiting("contrast") == 1)
        slow.release.set()
        assert list(again.result().scores) == Contrast().score(IMAGES).tolist()
    thread.join(PATIENCE)


def test_a_deadline_ends_the_wait(start: StartServer) -> None:
    slow, watcher = Slow(), Watcher()
    catalog = Catalog(slow=slow, contrast=Contrast())
    server = start(ScoringServicer(catalog), observers=[watcher])
    scorer = connect_scorer(server.address, "slow")
    thread, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    hasty = connect_scorer(server.address, "contrast", timeout=1)
    with pytest.raises(DeadlineExceeded):
        hasty.score(IMAGES)
    # The client's clock may run out before the server's, and then the call is cancelled.
    ends = {("Score", "DEADLINE_EXCEEDED"), ("Score", "CANCELLED")}
    watcher.until(lambda: bool(ends & set(watcher.requests)))
    assert watcher.waiting("contrast") == 0
    slow.release.set()
    thread.join(PATIENCE)


def test_requests_are_decoded_while_the_device_works(start: StartServer) -> None:
    """One place to work in, and it is free while the model works."""
    slow = Slow()
    limits = ServerLimits(workers=1, queue=1)
    servicer = ScoringServicer(Catalog(slow=slow), max_pixels=100)
    server = start(servicer, limits=limits)
    scorer = connect_scorer(server.address, "slow")
    thread, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    with pytest.raises(Exception, match="at most 100 are read"):
        scorer.score(torch.rand(1, 3, 20, 20))
    slow.release.set()
    thread.join(PATIENCE)


def test_features_and_streams_share_the_device(start: StartServer) -> None:
    """Whatever needs the device waits for it; here all of it is held up by one call."""

    class Plain(Contrast):
        def extract(self, images: Tensor) -> dict[str, Tensor]:
            return {"mean": images.double().flatten(1).mean(1)}

    slow, watcher = Slow(), Watcher()
    catalog = Catalog(slow=slow, plain=Plain())
    limits = ServerLimits(workers=1)
    services = [ScoringServicer(catalog), FeatureServicer(catalog)]
    server = start(*services, limits=limits, observers=[watcher])
    scorer = connect_scorer(server.address, "slow")
    plain = connect_scorer(server.address, "plain")
    held, _ = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=PATIENCE)
    calls = [
        in_background(lambda: plain.extract(IMAGES)["mean"].tolist()),
        in_background(lambda: list(plain.score_many([IMAGES[0]]))),
        in_background(lambda: plain.gradient(IMAGES)[0].tolist()),
    ]
    watcher.until(lambda: watcher.waiting("plain") == 3)
    assert not any(outcome for _, outcome in calls)
    slow.release.set()
    for thread, _ in [(held, None), *calls]:
        thread.join(PATIENCE)
    scores = Contrast().score(IMAGES).tolist()
    assert [outcome for _, outcome in calls] == [
        [IMAGES.double().flatten(1).mean(1).tolist()],
        [scores[:1]],
        [scores],
    ]


class Streamed:
    """A ``ScoreStream``; ``answers`` has its scores and, at last, its status."""

    def __init__(self, address: str) -> None:
        self.answers: SimpleQueue[float | grpc.StatusCode] = SimpleQueue()
        self._images: SimpleQueue[scoring_pb2.ScoreStreamRequest] = SimpleQueue()
        self._channel = open_channel(address)
        stub = scoring_pb2_grpc.ScoringServiceStub(self._channel)
        self._call = stub.ScoreStream(iter(self._images.get, None))
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, scorer: str, index: int = 0) -> None:
        image = codec.image_to_proto(IMAGES[index])
        self._images.put(scoring_pb2.ScoreStreamRequest(id="0", scorer=scorer, image=image))

    def _read(self) -> None:
        try:
            for answer in self._call:
                self.answers.put(answer.score)
        except grpc.RpcError as error:
            self.answers.put(error.code())
        self._channel.close()


def test_a_stream_ends_after_what_it_has_begun(start: StartServer) -> None:
    slow, watcher = Slow(), Watcher()
    server = start(ScoringServicer(Catalog(slow=slow)), observers=[watcher])
    stream = Streamed(server.address)
    stream.send("slow")
    assert slow.working.acquire(timeout=PATIENCE)
    stream.send("slow")
    stopping = threading.Thread(target=server.stop, args=(10 * PATIENCE,))
    stopping.start()
    until(lambda: not check_health(server.address))
    slow.release.set()
    assert stream.answers.get(timeout=PATIENCE) == 0.0
    assert stream.answers.get(timeout=PATIENCE) == grpc.StatusCode.UNAVAILABLE
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert slow.ended == ["done"]
    assert watcher.requests == [("ScoreStream", "UNAVAILABLE")]


def test_streams_that_their_clients_end_are_counted_as_cancelled(start: StartServer) -> None:
    """While a response is on its way, or by a deadline while the next request is waited for."""
    watcher, scores = Watcher(), 0
    server = start(ScoringServicer(Catalog(contrast=Contrast())), observers=[watcher])
    image = codec.image_to_proto(torch.rand(3, 2, 2))
    request = scoring_pb2.ScoreStreamRequest(id="x" * 10**6, scorer="contrast", image=image)
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        unread = stub.ScoreStream(itertools.repeat(request))
        next(unread)
        # Its responses are as large as its requests; soon no more of them fit on the way.
        while watcher.batches[scores:]:
            scores = len(watcher.batches)
            time.sleep(0.2)
        unread.cancel()
        watcher.until(lambda: len(watcher.requests) == 1)
        late = stub.ScoreStream(iter(SimpleQueue().get, None), timeout=0.5)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        watcher.until(lambda: len(watcher.requests) == 2)
    assert [code for _, code in watcher.requests] == ["CANCELLED", "DEADLINE_EXCEEDED"]


def unread_stream(channel: grpc.Channel) -> Iterator[scoring_pb2.ScoreStreamResponse]:
    """Its responses are as large as its requests, and soon no more of them fit on the way."""
    image = codec.image_to_proto(torch.rand(3, 2, 2))
    request = scoring_pb2.ScoreStreamRequest(id="x" * 10**6, scorer="contrast", image=image)
    stub = scoring_pb2_grpc.ScoringServiceStub(channel)
    call: Iterator[scoring_pb2.ScoreStreamResponse] = stub.ScoreStream(itertools.repeat(request))
    return call


def end_of(stream: Iterator[scoring_pb2.ScoreStreamResponse]) -> tuple[grpc.StatusCode, str]:
    """What a client reads behind the responses that were on their way."""
    with pytest.raises(grpc.RpcError) as ended:
        for _ in stream:
            pass
    return ended.value.code(), ended.value.details()


def test_a_stream_that_is_not_read_ends_and_makes_room(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.05)
    watcher = Watcher()
    limits = ServerLimits(workers=1, queue=0, streams=1, arrival=0.5)
    catalog = Catalog(contrast=Contrast())
    server = start(ScoringServicer(catalog), limits=limits, observers=[watcher])
    with open_channel(server.address) as channel:
        unread = unread_stream(channel)
        watcher.until(lambda: ("ScoreStream", "DEADLINE_EXCEEDED") in watcher.requests)
        late = grpc.StatusCode.DEADLINE_EXCEEDED
        assert end_of(unread) == (late, "nothing was read for 0.5 s")
        scorer = connect_scorer(server.address, "contrast", timeout=PATIENCE)
        assert list(scorer.score_many([IMAGES[0]])) == Contrast().score(IMAGES).tolist()[:1]


def test_a_server_that_stops_does_not_wait_for_clients_that_do_not_read(start: StartServer) -> None:
    watcher = Watcher()
    server = start(ScoringServicer(Catalog(contrast=Contrast())), observers=[watcher])
    with open_channel(server.address) as channel:
        unread, scores = unread_stream(channel), -1
        while scores != len(watcher.batches) or not scores:  # until no more fit on the way
            scores = len(watcher.batches)
            time.sleep(0.2)
        stopping = threading.Thread(target=server.stop, args=(10 * PATIENCE,))
        stopping.start()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
        assert end_of(unread) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")
    assert watcher.requests == [("ScoreStream", "UNAVAILABLE")]


SERVER = """
import sys
from ranksrgan.contracts import rpc
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from tests.contracts.conftest import Catalog, Contrast

class Held(Contrast):
    def score(self, images, references=None):
        print("working", flush=True)
        sys.stdin.readline()
        return super().score(images, references)

settings = ServerSettings(listen=sys.argv[1], workers=2, queue=6, grace=600)
services = rpc.Services([ScoringServicer(Catalog(held=Held(), contrast=Contrast()))])
rpc.serve(settings, [ScoringServicer.full_name], lambda observers: services)
"""


def test_sigterm_leaves_no_accepted_request_without_an_answer(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s.sock"
    command = [sys.executable, "-c", SERVER, address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            _drain(process, address)
        finally:
            process.kill()


def _drain(process: subprocess.Popen[str], address: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert wait_until_healthy(address, timeout=PATIENCE)
    scorer = connect_scorer(address, "held", timeout=4 * PATIENCE)
    idle = Streamed(address)
    idle.send("contrast")
    assert idle.answers.get(timeout=PATIENCE) == Contrast().score(IMAGES)[0]
    busy = Streamed(address)
    busy.send("held")
    assert process.stdout.readline() == "working\n"
    busy.send("held")
    calls = [in_background(lambda: scorer.score(IMAGES)) for _ in range(8)]
    # There is room for eight. Once another is refused, they are in.
    while not any(isinstance(one, Overloaded) for _, found in calls for one in found):
        calls.append(in_background(lambda: scorer.score(IMAGES)))
        calls[-1][0].join(0.5)
    process.send_signal(signal.SIGTERM)
    while check_health(address):
        pass
    # An idle stream ends at once.
    assert idle.answers.get(timeout=PATIENCE) == grpc.StatusCode.UNAVAILABLE
    assert busy.answers.empty()
    # They are worked off one by one after the signal.
    process.stdin.write("\n" * 100)
    process.stdin.flush()
    for thread, _ in calls:
        thread.join(PATIENCE)
    accepted = [found[0] for _, found in calls if not isinstance(found[0], Overloaded)]
    assert len(accepted) == 8
    scores = Contrast().score(IMAGES)
    assert all(isinstance(one, Tensor) and torch.equal(one, scores) for one in accepted)
    # A stream ends after the image that it was at.
    assert busy.answers.get(timeout=PATIENCE) == scores[0]
    assert busy.answers.get(timeout=PATIENCE) == grpc.StatusCode.UNAVAILABLE
    assert process.wait(PATIENCE) == 0
    with pytest.raises(ServiceUnavailable):
        scorer.score(IMAGES)
