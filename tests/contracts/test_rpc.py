"""A real server on loopback: limits, refusals, cancellation, draining."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import torch
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from torch import Tensor

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.client import Connection, RemoteScorer, connect_scorer
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import (
    AddressInUse,
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    ServiceUnavailable,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.folder_lock import locked
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, check_health, open_channel
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.socket_file import SocketFile
from ranksrgan.contracts.v1 import scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec
from tests.contracts.conftest import (
    Broken,
    Catalog,
    Contrast,
    Slow,
    StartServer,
    in_background,
)

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def test_a_taken_port_is_refused(start: StartServer) -> None:
    first = start(ScoringServicer(Catalog(contrast=Contrast())))
    with pytest.raises(AddressInUse, match=first.address):
        start(ScoringServicer(Catalog(contrast=Contrast())), address=first.address)


def test_a_taken_socket_is_refused_and_goes_on_working(start: StartServer, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s.sock"
    start(ScoringServicer(Catalog(contrast=Contrast())), address=address)
    with pytest.raises(AddressInUse, match=r"s\.sock"):
        start(ScoringServicer(Catalog()), address=address)
    assert connect_scorer(address, "contrast").score(IMAGES).shape == (2,)


def test_of_two_servers_that_start_at_one_moment_the_second_is_refused(
    start: StartServer, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/s.sock"
    late = SocketFile(address)
    late.require_free()
    start(ScoringServicer(Catalog(contrast=Contrast())), address=address)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(late.first_address.removeprefix("unix:"))
        listening.listen()
        with pytest.raises(AddressInUse, match=r"a server listens on unix:.*/s\.sock already"):
            late.publish()
    late.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["s.sock"]
    assert connect_scorer(address, "contrast").score(IMAGES).shape == (2,)


def test_a_socket_waits_for_the_one_that_is_being_published(
    start: StartServer, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        with locked(tmp_path, "held"):
            started = pool.submit(start, address=f"unix:{tmp_path}/s.sock")
            with pytest.raises(TimeoutError):
                started.result(timeout=0.2)
            assert not (tmp_path / "s.sock").exists()
        assert check_health(started.result().address)


def test_a_socket_that_cannot_be_published_is_removed(
    start: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InvalidInput, match=r"s\.sock: Operation not permitted"):
        start(address=f"unix:{tmp_path}/s.sock")
    assert list(tmp_path.iterdir()) == []


def test_a_socket_left_by_a_dead_server_is_replaced(start: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    start(ScoringServicer(Catalog(contrast=Contrast())), address=f"unix:{path}")
    assert open_scorer(f"unix://{path}/contrast").score(IMAGES).shape == (2,)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_socket_is_not_replaced(start: StartServer, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    link = tmp_path / "link"
    link.symlink_to(target)
    for path in (target, link, tmp_path):
        address = f"unix:{path}"
        with pytest.raises(InvalidInput, match=f"{path}: there is something that is no socket"):
            start(address=address)
        with pytest.raises(InvalidInput, match="something that is no socket; name another path"):
            ServerSettings(listen=address).check()
    assert link.read_text() == "kept"
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_a_server_that_ends_leaves_the_socket_of_the_next_one(
    start: StartServer, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    first = start(address=f"unix:{path}")
    path.unlink()
    second = start(address=f"unix:{path}")
    first.stop()
    assert check_health(second.address)
    second.stop()
    assert list(tmp_path.iterdir()) == []


def test_why_nobody_can_listen_at_a_path_is_said(start: StartServer, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"on unix:/sys/s: (Operation not perm|Permission den|Read-only file)"
    ):
        start(address="unix:/sys/s")
    with pytest.raises(InvalidInput, match=r"on unix:.*/s+: AF_UNIX path too long"):
        start(address=f"unix:{tmp_path}/{100 * 's'}")


@pytest.mark.parametrize("address", ["", "8080", "host:", "host:http", "unix:/no/such/folder/s"])
def test_what_is_no_address_is_refused(start: StartServer, address: str) -> None:
    with pytest.raises(InvalidInput):
        start(ScoringServicer(Catalog()), address=address)


def test_health_and_reflection(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    assert check_health(server.address)
    assert check_health(server.address, ScoringServicer.full_name)
    assert not check_health(server.address, "no.such.Service")
    with open_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    names = {service.name for service in answer.list_services_response.service}
    assert ScoringServicer.full_name in names
    assert "grpc.health.v1.Health" in names


def test_errors_arrive_by_class_with_text_and_field(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    with pytest.raises(UnknownName, match="there is contrast"):
        connect_scorer(server.address, "niqe")
    scorer = connect_scorer(server.address, "contrast")
    with pytest.raises(UndefinedScore, match="flat image") as caught:
        scorer.score(torch.zeros(1, 3, 4, 4))
    assert caught.value.field == "images"


def test_an_unexpected_exception_shows_nothing_of_itself(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(broken=Broken())))
    with pytest.raises(InternalError) as caught:
        connect_scorer(server.address, "broken").score(IMAGES)
    assert "secret" not in str(caught.value)
    assert "incident" in str(caught.value)


def test_a_batch_beyond_the_message_limit_is_refused(start: StartServer) -> None:
    limits = ServerLimits(max_message_bytes=2**16)
    server = start(ScoringServicer(Catalog(contrast=Contrast())), limits=limits)
    scorer = connect_scorer(server.address, "contrast")
    assert scorer.score(torch.rand(1, 3, 64, 64)).shape == (1,)
    with pytest.raises(LimitExceeded):
        scorer.score(torch.rand(1, 3, 128, 128))


def test_a_ranksrgan_batch_passes_under_the_default_limit(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    batch = torch.rand(8, 3, 296, 296)
    scores = connect_scorer(server.address, "contrast").score(batch)
    assert torch.equal(scores, Contrast().score(batch))


def test_a_full_queue_refuses_and_health_still_answers(start: StartServer) -> None:
    slow = Slow()
    limits = ServerLimits(workers=1, queue=1)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits)
    scorer = connect_scorer(server.address, "slow")
    calls = [in_background(lambda: scorer.score(IMAGES))]
    assert slow.working.acquire(timeout=5)
    calls += [in_background(lambda: scorer.score(IMAGES)) for _ in range(2)]
    # One of the two waits, whichever came first; the other is refused at once.
    deadline = time.monotonic() + 5
    while not any(outcome for _, outcome in calls) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [type(outcome[0]) for _, outcome in calls if outcome] == [Overloaded]
    assert check_health(server.address)
    slow.release.set()
    for thread, _ in calls:
        thread.join(5)
    kinds = [type(outcome[0]) for _, outcome in calls]
    assert (kinds.count(Tensor), kinds.count(Overloaded)) == (2, 1)


def test_a_deadline_ends_the_work_too(start: StartServer) -> None:
    slow = Slow()
    server = start(ScoringServicer(Catalog(slow=slow)))
    with pytest.raises(DeadlineExceeded):
        connect_scorer(server.address, "slow", timeout=0.3).score(IMAGES)
    deadline = time.monotonic() + 2
    while not slow.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert slow.ended == ["cancelled"]


def test_stopping_lets_requests_in_flight_finish(start: StartServer) -> None:
    slow = Slow()
    server = start(ScoringServicer(Catalog(slow=slow)))
    scorer = connect_scorer(server.address, "slow")
    thread, outcome = in_background(lambda: scorer.score(IMAGES))
    assert slow.working.acquire(timeout=5)
    stopping = threading.Thread(target=server.stop, args=(10.0,))
    stopping.start()
    time.sleep(0.1)
    slow.release.set()
    thread.join(5)
    stopping.join(5)
    assert isinstance(outcome[0], Tensor)
    assert not check_health(server.address, timeout=0.5)


def test_a_server_too_busy_to_greet_is_waited_for() -> None:
    """It has accepted the connection; only the deadline of the call may end the wait."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded):
            connect_scorer(address, "niqe", timeout=1.5)


def test_nobody_there(start: StartServer) -> None:
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1 does not answer"):
        connect_scorer("127.0.0.1:1", "niqe", timeout=2)


def test_retries_outlive_a_restart(start: StartServer) -> None:
    first = start(ScoringServicer(Catalog(contrast=Contrast())))
    scorer = connect_scorer(first.address, "contrast", retry_for=20)
    before = scorer.score(IMAGES)
    first.stop()
    restarted: list[RunningServer] = []

    def restart() -> None:
        time.sleep(0.5)
        restarted.append(
            start(ScoringServicer(Catalog(contrast=Contrast())), address=first.address)
        )

    thread = threading.Thread(target=restart)
    thread.start()
    assert torch.equal(scorer.score(IMAGES), before)
    thread.join()


def test_a_gradient_is_asked_only_of_those_who_have_one(start: StartServer) -> None:
    slow = Slow()
    server = start(ScoringServicer(Catalog(slow=slow)))
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ScoreGradient(scoring_pb2.ScoreGradientRequest(scorer="slow"), timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


class Ended(grpc.RpcError):
    """What a client sees when a server's grace is over: a bare CANCELLED."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        return "CANCELLED"


def test_a_call_that_a_stopping_server_cancels_is_tried_again() -> None:
    calls = 0

    def work() -> str:
        nonlocal calls
        calls += 1
        if calls != 2:
            raise Ended
        return "done"

    assert Connection("host:1", timeout=1, retry_for=30).attempt(work) == "done"
    assert calls == 2
    with pytest.raises(ServiceUnavailable, match="the service at host:1 ended the call"):
        Connection("host:1", timeout=1, retry_for=0).attempt(work)


class Peers(ScoringServicer):
    """Notes from which connections it is called."""

    def __init__(self) -> None:
        super().__init__(Catalog(contrast=Contrast()))
        self.seen: set[str] = set()

    def Score(
        self, request: scoring_pb2.ScoreRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.ScoreResponse:
        self.seen.add(context.peer())
        return super().Score(request, context)


def call_until(channel: grpc.Channel, done: Callable[[], bool]) -> None:
    """Score an image again and again."""
    end = time.monotonic() + 60
    image = codec.image_to_proto(torch.arange(12.0).reshape(3, 2, 2) / 12)
    request = scoring_pb2.ScoreRequest(scorer="contrast", images=[image])
    score = scoring_pb2_grpc.ScoringServiceStub(channel).Score
    while not done():
        assert time.monotonic() < end
        score(request, timeout=60)
        time.sleep(0.01)


def test_calls_take_turns_among_the_servers_of_a_name(start: StartServer) -> None:
    servicers = [Peers(), Peers()]
    target = "ipv4:" + ",".join(start(servicer).address for servicer in servicers)
    with open_channel(target) as channel:
        call_until(channel, lambda: all(servicer.seen for servicer in servicers))


def test_another_server_of_the_name_is_asked_while_one_stops(start: StartServer) -> None:
    slow = Slow()
    servers = [start(ScoringServicer(Catalog(contrast=Contrast(), slow=slow))) for _ in range(2)]
    target = "ipv4:" + ",".join(server.address for server in servers)
    connection = Connection(target, timeout=60, retry_for=0)
    scorer = RemoteScorer(connection, OpenedModel("contrast"), Contrast.info)
    images, wanted = IMAGES, Contrast().score(IMAGES)
    for _ in range(4):
        scorer.score(images)  # both are known by now
    held = connect_scorer(servers[1].address, "slow")
    working, outcome = in_background(lambda: held.score(images))
    assert slow.working.acquire(timeout=60)
    stopping = threading.Thread(target=servers[1].stop, args=(60.0,))
    stopping.start()
    while check_health(servers[1].address):
        assert stopping.is_alive()
    for _ in range(20):  # half of them come to the one that stops
        assert torch.equal(scorer.score(images), wanted)
    assert stopping.is_alive()
    slow.release.set()
    for thread in (working, stopping):
        thread.join(60)
    assert len(outcome) == 1
    assert torch.is_tensor(outcome[0])
    connection.close()


def test_an_old_connection_is_replaced_without_a_failed_call(start: StartServer) -> None:
    servicer = Peers()
    server = start(servicer, limits=ServerLimits(connection_age=0.5))
    with open_channel(server.address) as channel:
        call_until(channel, lambda: len(servicer.seen) > 2)
