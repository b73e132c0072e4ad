"""ScoreStream through a real server: bounded, in order, and over when the client goes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import grpc
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    InternalError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RankSRGANError,
    ServiceUnavailable,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.rpc import ServerLimits, check_health, open_channel
from ranksrgan.contracts.serving.features import FeatureServicer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.v1 import features_pb2, image_pb2, scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec
from tests.contracts.conftest import (
    Broken,
    Catalog,
    Contrast,
    Slow,
    StartServer,
    in_background,
)

IMAGE = torch.linspace(0, 1, 3 * 4 * 4).reshape(3, 4, 4)


class Brightness:
    """The mean of each image."""

    info = ScorerInfo("brightness", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images.double().flatten(1).mean(dim=1)


def grey(level: float) -> Tensor:
    return torch.full((3, 4, 4), level, dtype=torch.float64)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def streams_again(scorer: RemoteScorer) -> bool:
    """Whether the server takes another stream."""
    try:
        return len(list(scorer.score_many([IMAGE]))) == 1
    except Overloaded:
        return False


def test_results_come_in_order_and_images_are_read_as_they_are_taken(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(brightness=Brightness())))
    scorer = connect_scorer(server.address, "brightness")
    read = 0

    def endless() -> Iterator[Tensor]:
        nonlocal read
        while True:
            yield grey(1 / (1 + read))
            read += 1

    results = scorer.score_many(endless(), in_flight=5)
    assert read == 0
    for taken in range(100):
        assert next(results) == pytest.approx(1 / (1 + taken), abs=1e-15)
        # Those taken, four on their way, and the one that `endless` stands at.
        assert read == taken + 4
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("in_flight", [1, 2, 100])
def test_any_number_in_flight_gives_the_same(start: StartServer, in_flight: int) -> None:
    server = start(ScoringServicer(Catalog(brightness=Brightness())))
    scorer = connect_scorer(server.address, "brightness")
    levels = [k / 16 for k in range(16)]
    results = scorer.score_many((grey(level) for level in levels), in_flight=in_flight)
    assert list(results) == levels
    assert list(scorer.score_many([], in_flight=in_flight)) == []


@pytest.mark.parametrize("in_flight", [0, -1])
def test_nothing_in_flight_is_a_mistake(start: StartServer, in_flight: int) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    scorer = connect_scorer(server.address, "contrast")
    with pytest.raises(InvalidInput, match="1 or more is wanted"):
        scorer.score_many([IMAGE], in_flight=in_flight)


def test_an_error_of_one_image_stands_in_its_place(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast()), max_pixels=100))
    scorer = connect_scorer(server.address, "contrast")
    images = [IMAGE, grey(0.5), torch.rand(3, 20, 20), IMAGE, IMAGE.long(), IMAGE]
    outcomes = list(scorer.score_many(images, in_flight=2))
    expected = float(Contrast().score(IMAGE[None]))
    assert [outcome for outcome in outcomes if isinstance(outcome, float)] == [expected] * 3
    flat, large, whole = (outcomes[position] for position in (1, 2, 4))
    assert isinstance(flat, UndefinedScore)
    assert (str(flat), flat.field) == ("a flat image has no contrast", "images")
    assert isinstance(large, ImageTooLarge)
    assert "image is 20 x 20 pixels" in str(large)
    assert isinstance(whole, InvalidInput)
    assert "int64 does not travel" in str(whole)


def test_many_streams_one_after_the_other(start: StartServer) -> None:
    """Each ends in an orderly way, so the server has room for the next."""
    limits = ServerLimits(workers=1, queue=0, streams=1)
    server = start(ScoringServicer(Catalog(brightness=Brightness())), limits=limits)
    scorer = connect_scorer(server.address, "brightness")
    assert all(streams_again(scorer) for _ in range(100))


def test_what_the_iterable_raises_reaches_the_caller(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())), limits=ServerLimits(streams=1))
    scorer = connect_scorer(server.address, "contrast")

    def broken() -> Iterator[Tensor]:
        yield IMAGE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(scorer.score_many(broken()))
    # Its stream is over: there is room for another.
    assert within(5, lambda: streams_again(scorer))


def test_messages_on_the_wire(start: StartServer) -> None:
    """What a client in another language sees: any scorer in each request, ids echoed."""
    server = start(ScoringServicer(Catalog(contrast=Contrast(), brightness=Brightness())))
    image = image_pb2.Image(
        tensor=image_pb2.Tensor(dtype=1, shape=[1, 2, 2], data=bytes([0, 255, 0, 255]))
    )
    request = scoring_pb2.ScoreStreamRequest
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        answers = list(
            stub.ScoreStream(
                iter(
                    [
                        request(id="a", scorer="brightness", image=image),
                        request(id="b", scorer="nothing", image=image),
                        request(id="", scorer="contrast", image=image),
                        request(id="d", scorer="contrast"),
                        request(id="e", scorer="contrast", image=image, reference=image),
                    ]
                ),
                timeout=10,
            )
        )
    assert [answer.id for answer in answers] == ["a", "b", "", "d", "e"]
    assert answers[0].score == 127.5
    assert answers[2].WhichOneof("outcome") == "score"
    reasons = [(answers[k].error.reason, answers[k].error.code) for k in (1, 3, 4)]
    not_found, invalid = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
    assert reasons == [
        (UnknownName.code, not_found.value[0]),
        (InvalidInput.code, invalid.value[0]),
        (InvalidInput.code, invalid.value[0]),
    ]
    assert answers[3].error.message == "image: set encoded, tensor or shared"
    assert (answers[3].error.field, answers[4].error.field) == ("image", "references")


def test_an_unexpected_exception_ends_the_stream_and_shows_nothing(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(broken=Broken())), limits=ServerLimits(streams=1))
    scorer = connect_scorer(server.address, "broken")
    for _ in range(3):  # and each leaves the place for the next
        with pytest.raises(InternalError, match="incident") as caught:
            list(scorer.score_many([IMAGE, IMAGE]))
        assert "secret" not in str(caught.value)


def test_an_image_beyond_the_message_limit_ends_the_stream(start: StartServer) -> None:
    limits = ServerLimits(max_message_bytes=2**16)
    server = start(ScoringServicer(Catalog(contrast=Contrast())), limits=limits)
    scorer = connect_scorer(server.address, "contrast")
    # In all more than the limit, each less.
    assert len(list(scorer.score_many(torch.rand(3, 64, 64) for _ in range(10)))) == 10
    with pytest.raises(LimitExceeded):
        list(scorer.score_many([IMAGE, torch.rand(3, 128, 128)]))


def test_more_streams_than_allowed_are_refused_and_idle_ones_block_nobody(
    start: StartServer,
) -> None:
    limits = ServerLimits(workers=1, queue=0, streams=2)
    server = start(ScoringServicer(Catalog(contrast=Contrast())), limits=limits)
    scorer = connect_scorer(server.address, "contrast")
    idle = [scorer.score_many([IMAGE] * 3, in_flight=1) for _ in range(2)]
    first = [next(stream) for stream in idle]
    with pytest.raises(Overloaded, match="2 streams are open"):
        list(scorer.score_many([IMAGE]))
    # The one worker is free for others while both streams wait for their clients.
    assert scorer.score(IMAGE[None]).tolist() == first[:1]
    assert check_health(server.address)
    assert list(idle[0]) == first[:1] * 2
    assert within(5, lambda: streams_again(scorer))


def test_streams_share_the_workers_with_single_calls(start: StartServer) -> None:
    slow = Slow()
    limits = ServerLimits(workers=1, queue=1)
    server = start(ScoringServicer(Catalog(slow=slow)), limits=limits)
    scorer = connect_scorer(server.address, "slow")
    streaming, streamed = in_background(lambda: list(scorer.score_many([IMAGE] * 2)))
    assert slow.working.acquire(timeout=5)
    calling, called = in_background(lambda: scorer.score(IMAGE[None]))
    assert not slow.working.acquire(timeout=0.3)  # one at a time
    slow.release.set()
    streaming.join(5)
    calling.join(5)
    assert streamed == [[0.0, 0.0]]
    assert isinstance(called[0], Tensor)


def test_the_server_reads_no_further_than_it_works(start: StartServer) -> None:
    """A client that writes without waiting is stopped by flow control, not by memory."""
    slow = Slow()
    server = start(ScoringServicer(Catalog(slow=slow)))
    sent = 0

    def requests() -> Iterator[scoring_pb2.ScoreStreamRequest]:
        nonlocal sent
        data = bytes(3 * 1024 * 1024)
        tensor = image_pb2.Tensor(dtype=1, shape=[3, 1024, 1024], data=data)
        while True:
            yield scoring_pb2.ScoreStreamRequest(
                scorer="slow", image=image_pb2.Image(tensor=tensor)
            )
            sent += 1

    with open_channel(server.address) as channel:
        call = scoring_pb2_grpc.ScoringServiceStub(channel).ScoreStream(requests(), timeout=30)
        assert slow.working.acquire(timeout=5)
        time.sleep(1)
        assert sent < 10
        call.cancel()
    assert within(5, lambda: slow.ended == ["cancelled"])


def test_work_ends_with_the_client_and_is_no_failure(
    start: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    limits = ServerLimits(workers=1, queue=0, streams=1)
    server = start(ScoringServicer(Catalog(slow=slow, contrast=Contrast())), limits=limits)
    scorer = connect_scorer(server.address, "contrast")
    with caplog.at_level(logging.WARNING):
        hasty = connect_scorer(server.address, "slow", timeout=0.3)
        with pytest.raises(DeadlineExceeded, match=r"took more than 0\.3 s for one image"):
            next(hasty.score_many([IMAGE]))
        assert within(5, lambda: slow.ended == ["cancelled"])
        assert within(5, lambda: streams_again(scorer))  # the worker is free too
        # A client that leaves while the server waits for it.
        with open_channel(server.address) as channel:
            requests: SimpleQueue[scoring_pb2.ScoreStreamRequest | None] = SimpleQueue()
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)
            call = stub.ScoreStream(iter(requests.get, None))
            # Its first answer says that it is in. Asking with other streams until one is refused
            # would now and then take the only place before it.
            image = image_pb2.Image(tensor=codec.tensor_to_proto(IMAGE))
            requests.put(scoring_pb2.ScoreStreamRequest(scorer="contrast", image=image))
            assert not next(call).HasField("error")
            assert not streams_again(scorer)
            call.cancel()
            requests.put(None)
        assert within(5, lambda: streams_again(scorer))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "ended the stream before all was answered"),
        (["1", "0"], "sent answers out of order"),
        (["0", "1", "2"], "sent more answers than requests"),
    ],
)
def test_a_server_that_answers_otherwise_is_found_out(
    start: StartServer, ids: list[str], message: str
) -> None:
    class Careless(ScoringServicer):
        def ScoreStream(
            self, request_iterator: object, context: object
        ) -> Iterator[scoring_pb2.ScoreStreamResponse]:
            for name in ids:
                yield scoring_pb2.ScoreStreamResponse(id=name, score=1)

    server = start(Careless(Catalog(contrast=Contrast())))
    scorer = connect_scorer(server.address, "contrast")
    with pytest.raises(InternalError, match=message):
        list(scorer.score_many([IMAGE, IMAGE]))


def test_feature_sets_that_do_not_match_are_found_out(start: StartServer) -> None:
    class Careless(FeatureServicer):
        def ExtractFeatures(
            self, request: object, context: object
        ) -> features_pb2.ExtractFeaturesResponse:
            arrays = [{"a": torch.zeros(2)}, {"a": torch.zeros(3)}]
            return features_pb2.ExtractFeaturesResponse(
                features=[codec.feature_set_to_proto(array) for array in arrays]
            )

    catalog = Catalog(contrast=Contrast())
    server = start(ScoringServicer(catalog), Careless(catalog))
    scorer = connect_scorer(server.address, "contrast")
    for count, message in ((2, "2 feature sets of 2 kinds"), (1, "2 feature sets .* for 1 images")):
        with pytest.raises(InternalError, match=message):
            scorer.extract(torch.rand(count, 3, 4, 4))


def test_stopping_lets_the_image_in_work_finish(start: StartServer) -> None:
    slow = Slow()
    server = start(ScoringServicer(Catalog(slow=slow)))
    scorer = connect_scorer(server.address, "slow")
    thread, outcome = in_background(lambda: list(scorer.score_many([IMAGE])))
    assert slow.working.acquire(timeout=5)
    stopping = threading.Thread(target=server.stop, args=(10.0,))
    stopping.start()
    slow.release.set()
    thread.join(5)
    stopping.join(5)
    assert outcome == [[0.0]]
    assert not stopping.is_alive()


def test_a_stream_goes_on_after_a_restart(start: StartServer) -> None:
    first = start(ScoringServicer(Catalog(brightness=Brightness())))
    scorer = connect_scorer(first.address, "brightness", retry_for=20)
    levels = [k / 16 for k in range(16)]
    results = scorer.score_many((grey(level) for level in levels), in_flight=4)
    taken = [next(results) for _ in range(5)]
    first.stop()
    threading.Timer(
        0.5,
        lambda: start(ScoringServicer(Catalog(brightness=Brightness())), address=first.address),
    ).start()
    assert [*taken, *results] == levels


def test_a_stream_whose_server_stays_away(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(brightness=Brightness())))
    scorer = connect_scorer(server.address, "brightness")
    results = scorer.score_many([IMAGE] * 4, in_flight=1)
    next(results)
    server.stop()
    with pytest.raises(ServiceUnavailable, match=r"is stopping|does not answer") as caught:
        list(results)
    assert isinstance(caught.value, RankSRGANError)
