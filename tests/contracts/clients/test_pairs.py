"""Streams of pairs against a small server: order, resumption, flow control, and odd servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import grpc
import pytest
import torch

from ranksrgan.contracts import Pair, PairSource, open_pair_source
from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.clients.pairs import RemotePairSource, connect_pair_source
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidDataset,
    InvalidInput,
    Overloaded,
    ServiceUnavailable,
)
from ranksrgan.contracts.operations.rank_data_service import RankDataServicer
from ranksrgan.contracts.pairs import PairSelection
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, open_channel
from ranksrgan.contracts.v1 import rank_data_pb2, rank_data_pb2_grpc
from tests.contracts.conftest import StartServer, in_background
from tests.contracts.rank_data import INFO, Numbers, Shelf, serving
from tests.contracts.trials import PATIENCE, until


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def server(start: StartServer, shelf: Shelf) -> RunningServer:
    return start(serving(shelf))


def connect(server: RunningServer, *, retry_for: float = 0.0) -> RemotePairSource:
    return connect_pair_source(
        server.address, "a", PairSelection(), timeout=PATIENCE, retry_for=retry_for
    )


def places(pairs: Iterator[Pair], number: int) -> list[int]:
    """Which positions of the stream the next pairs are, by their colour."""
    return [round(float(pair.a[0, 0, 0]) * 255) for pair in islice(pairs, number)]


def test_pairs_and_contents_arrive_as_they_are(server: RunningServer, shelf: Shelf) -> None:
    source = connect(server)
    assert isinstance(source, PairSource)
    assert source.info == INFO
    assert (source.info.one_size, source.info.infinite) == (True, {"ma": "low"})
    for ours, theirs in zip(
        islice(source.pairs(7, start=3, step=2), 5), Numbers().pairs(7, 3, 2), strict=False
    ):
        assert torch.equal(ours.a, theirs.a)
        assert torch.equal(ours.b, theirs.b)
        assert ours.label == theirs.label
        assert ours.a.dtype == torch.float32
    shuffled = islice(source.shuffled_contents(2, start=1, step=3), 4)
    for streams in (
        zip(shuffled, Numbers().shuffled_contents(2, 1, 3), strict=False),
        zip(source.contents(), Numbers().contents(), strict=True),
    ):
        for mine, wanted in streams:
            assert (mine.content, mine.levels) == (wanted.content, wanted.levels)
            assert torch.equal(mine.images, wanted.images)
            assert torch.equal(mine.scores, wanted.scores)
            assert torch.equal(mine.further["ma"], wanted.further["ma"])
            assert mine.reference is not None
            assert wanted.reference is not None
            assert torch.equal(mine.reference, wanted.reference)


def test_every_value_of_a_pixel_survives(start: StartServer) -> None:
    class Ramp(Numbers):
        def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
            ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)
            yield Pair(ramp.float() / 255, ramp.flip(1).float() / 255, 1.0)

    source = connect(start(serving(Shelf(Ramp()))))
    found, wanted = next(source.pairs(0)), next(Ramp().pairs(0))
    assert torch.equal(found.a, wanted.a)
    assert torch.equal(found.b, wanted.b)


def test_pixels_of_more_than_8_bits_are_not_rounded_in_silence(start: StartServer) -> None:
    class Deep(Numbers):
        def image(self, *colour: int) -> torch.Tensor:
            return super().image(*colour) + 1e-4

    source = connect(start(serving(Shelf(Deep()))))
    with pytest.raises(InvalidInput, match="these pixels have more"):
        next(source.pairs(0))


def test_the_selection_travels(server: RunningServer, shelf: Shelf) -> None:
    address = f"grpc://{server.address}/a?split=val&min_gap=0.1"
    source = open_pair_source(address, ties="keep")
    next(source.pairs(0))
    next(source.shuffled_contents(0))
    assert set(shelf.selections) == {PairSelection("val", "keep", 0.1)}
    shelf.selections.clear()
    open_pair_source(f"grpc://{server.address}/a")
    assert shelf.selections == [PairSelection(None, "drop", 0.0)]


def test_the_server_reads_ahead_no_further_than_the_connection_takes(start: StartServer) -> None:
    """A pair of these has 786 kB, and there is no end of them."""
    numbers = Numbers(side=362)
    limits = ServerLimits(workers=1, queue=0, streams=1)
    server = start(serving(Shelf(numbers)), limits=limits)
    source = connect(server)
    pairs = source.pairs(0)
    assert places(pairs, 3) == [0, 1, 2]
    time.sleep(1)
    assert numbers.made < 40
    # The only worker is free meanwhile, and the only stream is not.
    assert connect(server).info == INFO
    with pytest.raises(Overloaded, match="1 streams are open"):
        next(source.pairs(0))
    made = numbers.made
    # What is read makes room for more, when gRPC says so: not after the first few at any rate.
    assert places(pairs, made) == list(range(3, 3 + made))
    # To cancel frees the stream, on both sides.
    pairs.close()  # type: ignore[attr-defined]
    until(lambda: numbers.closed == 1)
    assert places(source.pairs(0), 1) == [0]


def test_a_stream_goes_on_after_a_restart(start: StartServer) -> None:
    numbers = Numbers(side=128)
    first = start(serving(Shelf(numbers)))
    source = connect(first, retry_for=PATIENCE)
    pairs = source.pairs(1, start=5, step=3)
    contents = source.contents()
    assert places(pairs, 2) == [5, 8]
    assert next(contents).content == "content0"
    first.stop()
    again = threading.Timer(0.3, lambda: start(serving(Shelf(numbers)), address=first.address))
    again.start()
    # What had arrived before is read too, once.
    assert places(pairs, 40) == [(5 + 3 * k) % 256 for k in range(2, 42)]
    assert [content.content for content in contents] == ["content1", "content2"]
    again.join()


def test_a_server_that_stays_away(start: StartServer) -> None:
    server = start(serving(Shelf(Numbers(side=64))))
    pairs = connect(server, retry_for=0.5).pairs(0)
    next(pairs)
    server.stop()
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        list(pairs)


def test_a_server_that_comes_back_with_other_data(start: StartServer) -> None:
    first = start(serving(Shelf(Numbers(side=64))))
    source = connect(first, retry_for=PATIENCE)
    pairs = source.pairs(0)
    next(pairs)
    first.stop()
    other = Numbers(side=64, info=replace(INFO, fingerprint="1" * 64))
    start(serving(Shelf(other)), address=first.address)
    with pytest.raises(InvalidDataset, match="datasets/a is another dataset than when it was"):
        list(pairs)


def test_a_dataset_that_is_replaced_between_its_description_and_its_stream(
    start: StartServer,
) -> None:
    shelf = Shelf(Numbers())
    source = connect(start(serving(shelf)))
    shelf.source = Numbers(info=replace(INFO, fingerprint="1" * 64))
    for items in (source.pairs(0), source.shuffled_contents(0), source.contents()):
        with pytest.raises(InvalidDataset, match="another dataset than when it was described"):
            next(items)
    assert places(connect(start(serving(shelf))).pairs(0), 2) == [0, 1]


def test_stopping_does_not_wait_for_endless_streams(start: StartServer) -> None:
    numbers = Numbers()
    server = start(serving(Shelf(numbers)))
    pairs = connect(server).pairs(0)
    reader, ended = in_background(lambda: list(pairs))
    until(lambda: numbers.made > 3)
    stopping = threading.Thread(target=server.stop, args=(10 * PATIENCE,))
    stopping.start()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    reader.join(PATIENCE)
    assert [type(outcome) for outcome in ended] == [ServiceUnavailable]


def test_an_item_that_takes_too_long(start: StartServer) -> None:
    numbers = Numbers()
    free = threading.Event()
    numbers.before = lambda position: position < 2 or free.wait(PATIENCE)
    server = start(serving(Shelf(numbers)))
    connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
    pairs = RemotePairSource(connection, "datasets/a", PairSelection()).pairs(0)
    assert places(pairs, 2) == [0, 1]
    connection.timeout = 0.5
    with pytest.raises(DeadlineExceeded, match=r"took more than 0\.5 s for one pair"):
        next(pairs)
    free.set()
    until(lambda: numbers.closed == 1)


def test_no_clock_runs_while_the_reader_pauses(server: RunningServer) -> None:
    before = set(threading.enumerate())
    pairs = connect(server).pairs(0)
    assert places(pairs, 2) == [0, 1]
    until(
        lambda: not any(isinstance(t, threading.Timer) for t in {*threading.enumerate()} - before)
    )
    assert places(pairs, 2) == [2, 3]


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ({"start": -1}, "start"),
        ({"step": 0}, "step"),
        ({"seed": 2**63}, "seed"),
        ({"start": 2**62}, "start"),
    ],
)
def test_impossible_places(server: RunningServer, place: dict[str, int], field: str) -> None:
    source = connect(server)
    for stream in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidInput) as caught:
            stream(**{"seed": 0, **place})
        assert caught.value.field == field


def test_only_ties(start: StartServer) -> None:
    server = start(serving(Shelf(Numbers(info=replace(INFO, pairs=0)))))
    source = connect(server)
    for stream in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidDataset, match="every pair is a tie"):
            stream(0)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (rank_data_pb2.StreamPairsRequest(cursor=-1), "cursor"),
        (rank_data_pb2.StreamPairsRequest(cursor=2**63 - 1), "cursor"),
        (rank_data_pb2.StreamPairsRequest(step=-1), "step"),
        (rank_data_pb2.StreamPairsRequest(min_gap=-1), "min_gap"),
        (rank_data_pb2.StreamPairsRequest(min_gap=float("nan")), "min_gap"),
        (rank_data_pb2.StreamPairsRequest(ties=9), "ties"),  # type: ignore[arg-type]
    ],
)
def test_the_server_checks_for_itself(
    server: RunningServer, request_: rank_data_pb2.StreamPairsRequest, field: str
) -> None:
    with open_channel(server.address) as channel:
        stub = rank_data_pb2_grpc.RankDataServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.StreamPairs(request_, timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith(field)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "ended a stream that has no end"),
        ([rank_data_pb2.StreamPairsResponse(cursor=2)], "sent cursor 2 after 0"),
        ([rank_data_pb2.StreamPairsResponse(cursor=1)], "sent what cannot be"),
    ],
)
def test_a_server_that_answers_otherwise_is_found_out(
    start: StartServer, messages: list[rank_data_pb2.StreamPairsResponse], error: str
) -> None:
    class Careless(RankDataServicer):
        def StreamPairs(
            self, request: object, context: object
        ) -> Iterator[rank_data_pb2.StreamPairsResponse]:
            yield from messages

        def StreamContents(
            self, request: object, context: object
        ) -> Iterator[rank_data_pb2.StreamContentsResponse]:
            yield from ()

    source = connect(start(serving(Shelf(), kind=Careless)))
    with pytest.raises(InternalError, match=error):
        next(source.pairs(0))
    with pytest.raises(InternalError, match="sent 0 of 3 contents"):
        list(source.contents())
