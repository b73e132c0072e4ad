"""Streams of responses to one request: places, back-pressure, errors, and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import grpc
import pytest

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidDataset,
    Overloaded,
    RequestCancelled,
    ServiceUnavailable,
)
from ranksrgan.contracts.rpc import RunningServer, ServerLimits
from ranksrgan.contracts.serving import waits
from ranksrgan.contracts.v1 import image_pb2, rank_data_pb2, rank_data_pb2_grpc
from ranksrgan.contracts.wire import error_codec
from tests.contracts.conftest import StartServer
from tests.contracts.trials import PATIENCE, until
from tests.contracts.watcher import Watcher


class Pairs(rank_data_pb2_grpc.RankDataServiceServicer):
    """Streams pairs without end, as large as the real ones; counts what it makes."""

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.RankDataService"

    def __init__(self) -> None:
        self.made = 0
        self.ended: list[str] = []
        self.working = threading.Event()
        self.release = threading.Event()

    def add_to(self, server: grpc.Server) -> None:
        rank_data_pb2_grpc.add_RankDataServiceServicer_to_server(self, server)

    def GetRankDataset(
        self, request: rank_data_pb2.GetRankDatasetRequest, context: grpc.ServicerContext
    ) -> rank_data_pb2.GetRankDatasetResponse:
        return rank_data_pb2.GetRankDatasetResponse()

    def StreamPairs(
        self, request: rank_data_pb2.StreamPairsRequest, context: grpc.ServicerContext
    ) -> Iterator[rank_data_pb2.StreamPairsResponse]:
        image = image_pb2.Image(encoded=bytes(300_000))
        cursor = request.cursor
        try:
            while True:
                if request.dataset == "slow":
                    self.working.set()
                    while not self.release.wait(0.01):
                        cancellation.check()
                if cursor == 2 and request.dataset == "damaged":
                    raise InvalidDataset("the third pair is gone", field="dataset")
                if cursor == 2 and request.dataset == "crash":
                    raise RuntimeError("/secret/key")
                if cursor == 3 and request.dataset == "short":
                    return
                cursor += 1
                self.made += 1
                yield rank_data_pb2.StreamPairsResponse(
                    cursor=cursor, pair=rank_data_pb2.Pair(a=image, b=image, label=1)
                )
        except RequestCancelled:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("ended")


class Client:
    """Calls as a client makes them."""

    def __init__(self, server: RunningServer) -> None:
        self._connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
        self._stub = rank_data_pb2_grpc.RankDataServiceStub(self._connection.channel())

    def stream(self, dataset: str, cursor: int = 0) -> Any:
        request = rank_data_pb2.StreamPairsRequest(dataset=dataset, cursor=cursor)
        return self._stub.StreamPairs(request, timeout=PATIENCE)

    def read(self, stream: Any) -> rank_data_pb2.StreamPairsResponse:
        """The next response, or the error of the class that the server raised."""
        try:
            return next(stream)
        except grpc.RpcError as error:
            raise error_codec.error_from_proto(error, "the server") from error

    def ask_later(self) -> Any:
        """A call of another method, under way."""
        request = rank_data_pb2.GetRankDatasetRequest()
        return self._stub.GetRankDataset.future(request, timeout=PATIENCE)


def test_a_stream_ends_where_it_ends_and_begins_at_its_cursor(start: StartServer) -> None:
    client = Client(start(Pairs()))
    assert [response.cursor for response in client.stream("short")] == [1, 2, 3]
    assert [response.cursor for response in client.stream("short", cursor=2)] == [3]


def test_errors_in_a_stream_arrive_by_class(start: StartServer) -> None:
    client = Client(start(Pairs()))
    stream = client.stream("damaged")
    assert [client.read(stream).cursor for _ in range(2)] == [1, 2]
    with pytest.raises(InvalidDataset, match="third pair") as caught:
        client.read(stream)
    assert caught.value.field == "dataset"
    stream = client.stream("crash", cursor=2)
    with pytest.raises(InternalError, match="incident") as hidden:
        client.read(stream)
    assert "secret" not in str(hidden.value)


def test_a_client_that_does_not_read_holds_no_place_and_makes_nothing_pile_up(
    start: StartServer,
) -> None:
    pairs = Pairs()
    client = Client(start(pairs, limits=ServerLimits(workers=1, queue=0)))
    stream = client.stream("endless")
    assert client.read(stream).cursor == 1
    before = -1
    while before != pairs.made < 1000:  # until nothing more is made for nobody
        before = pairs.made
        time.sleep(1.0)
    assert pairs.made * 0.6 < 40  # MB, in the sockets and on their way
    assert client.ask_later().result() is not None  # the only worker is free
    assert [client.read(stream).cursor for _ in range(100)] == list(range(2, 102))
    stream.cancel()
    until(lambda: pairs.ended == ["ended"])


def test_a_stream_that_is_not_read_ends_and_may_go_on_at_its_cursor(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.05)
    pairs, watcher = Pairs(), Watcher()
    limits = ServerLimits(workers=1, queue=0, streams=1, arrival=0.2)
    client = Client(start(pairs, limits=limits, observers=[watcher]))
    stream = client.stream("endless")
    watcher.until(lambda: ("StreamPairs", "UNAVAILABLE") in watcher.requests)
    watcher.until(lambda: pairs.ended == ["ended"])
    with pytest.raises(ServiceUnavailable, match=r"read for 0\.2 s; go on at the last cursor"):
        list(map(client.read, [stream] * pairs.made))
    assert client.read(client.stream("endless", cursor=7)).cursor == 8


def test_a_response_that_is_made_holds_a_place(start: StartServer) -> None:
    pairs = Pairs()
    client = Client(start(pairs, limits=ServerLimits(workers=1, queue=0)))
    slow = client.stream("slow")
    assert pairs.working.wait(PATIENCE)
    calls = [client.ask_later() for _ in range(2)]
    # One waits for the only worker; the other is refused, since nobody else may wait.
    until(lambda: any(call.done() for call in calls))
    (refused,) = (call for call in calls if call.done())
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    pairs.release.set()
    assert client.read(slow).cursor == 1
    (answered,) = (call for call in calls if call is not refused)
    assert answered.result() == rank_data_pb2.GetRankDatasetResponse()
    slow.cancel()
    until(lambda: pairs.ended == ["ended"])


def test_streams_are_bounded_and_one_that_is_left_makes_room(start: StartServer) -> None:
    pairs = Pairs()
    client = Client(start(pairs, limits=ServerLimits(streams=1)))
    first = client.stream("slow")
    assert pairs.working.wait(PATIENCE)
    with pytest.raises(Overloaded, match="1 streams are open"):
        client.read(client.stream("short"))
    first.cancel()
    until(lambda: pairs.ended == ["cancelled", "ended"])
    until(lambda: not isinstance(_outcome(client), Overloaded))


def _outcome(client: Client) -> object:
    stream = client.stream("short")
    try:
        return client.read(stream)
    except Overloaded as error:
        return error
    finally:
        stream.cancel()


def test_an_endless_stream_does_not_hold_up_a_server_that_stops(start: StartServer) -> None:
    pairs = Pairs()
    server = start(pairs)
    client = Client(server)
    stream = client.stream("endless")
    client.read(stream)
    stopping = threading.Thread(target=server.stop, args=(10 * PATIENCE,))
    stopping.start()

    def read_on() -> None:
        while True:
            client.read(stream)

    with pytest.raises(ServiceUnavailable):
        read_on()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert pairs.ended == ["ended"]
