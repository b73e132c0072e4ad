"""ScoreStream with images in chunks: the score of Score to the bit, and what is out of step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidImage,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RankSRGANError,
    UndefinedScore,
)
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, open_channel
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.spool import Spool
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec, error_codec
from tests.contracts.conftest import Catalog, Contrast, StartServer
from tests.contracts.served import until

Request = scoring_pb2.ScoreStreamRequest
Ahead = image_pb2.ImageAhead

LIMIT = 2**16
PIXELS = 300 * 300
LARGE = torch.rand(3, 100, 120, generator=torch.Generator().manual_seed(0))  # 144 kB
SMALL = LARGE[:, :9, :8].contiguous()


class Distance:
    """The mean distance of each image from its reference."""

    info = ScorerInfo("distance", "1", False, True, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        if references is None:
            raise InvalidInput("references: distance takes one for each image", field="references")
        return (images.double() - references.double()).abs().flatten(1).mean(1)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, 2**20)


@pytest.fixture
def server(start: StartServer, spool: Spool) -> RunningServer:
    scorers = Catalog(contrast=Contrast(), distance=Distance())
    servicer = ScoringServicer(scorers, max_pixels=PIXELS, max_message_bytes=LIMIT, spool=spool)
    return start(servicer, limits=ServerLimits(workers=1, max_message_bytes=LIMIT, streams=2))


@pytest.fixture
def contrast(server: RunningServer) -> Iterator[RemoteScorer]:
    remote = connect_scorer(server.address, "contrast")
    yield remote
    remote.close()


@pytest.fixture
def distance(server: RunningServer) -> Iterator[RemoteScorer]:
    remote = connect_scorer(server.address, "distance")
    yield remote
    remote.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_large_images_go_in_chunks_by_themselves(
    contrast: RemoteScorer, distance: RemoteScorer, spool: Spool, dtype: torch.dtype
) -> None:
    large = (LARGE * 255).to(dtype) if dtype == torch.uint8 else LARGE.to(dtype)
    images = [large, SMALL, large.flip(2), large]
    expected = [float(Contrast().score(image[None])) for image in images]
    assert list(contrast.score_many(images, in_flight=3)) == expected
    pairs = [(image, image.roll(1, 1)) for image in images]
    wanted = [float(Distance().score(a[None], b[None])) for a, b in pairs]
    assert list(distance.score_many(pairs)) == wanted
    assert contrast.score(large[None]).tolist() == expected[:1]
    assert distance.score(large[None], pairs[0][1][None]).tolist() == wanted[:1]
    assert spool.used == 0


def test_what_is_wrong_with_a_large_image_stands_in_its_place(contrast: RemoteScorer) -> None:
    flat, huge = torch.full_like(LARGE, 0.5), torch.rand(3, 301, 300)
    outcomes = list(contrast.score_many([LARGE, flat, huge, LARGE], in_flight=2))
    assert outcomes[0] == outcomes[3] == float(Contrast().score(LARGE[None]))
    assert isinstance(outcomes[1], UndefinedScore)
    assert isinstance(outcomes[2], ImageTooLarge)
    with pytest.raises(UndefinedScore):
        contrast.score(flat[None])


def test_a_buffer_may_be_filled_again_when_it_has_been_taken(contrast: RemoteScorer) -> None:
    buffer = torch.empty_like(LARGE)

    def filled() -> Iterator[Tensor]:
        for k in range(4):
            yield buffer.copy_(LARGE.roll(k, 0) / (k + 1))

    expected = [float(Contrast().score((LARGE.roll(k, 0) / (k + 1))[None])) for k in range(4)]
    assert list(contrast.score_many(filled())) == expected


def test_several_large_images_at_a_time_are_one_message_still(contrast: RemoteScorer) -> None:
    """A batch stays the batch that a scorer sees; it is not taken apart behind one's back."""
    with pytest.raises(LimitExceeded):
        contrast.score(torch.stack([LARGE, LARGE]))


def png(image: Tensor) -> bytes:
    file = io.BytesIO()
    Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def chunks(data: bytes, size: int = 20_000) -> list[Request]:
    return [Request(chunk=data[at : at + size]) for at in range(0, len(data), size)]


def ahead(tensor: Tensor) -> Ahead:
    sent = codec.tensor_to_proto(tensor)
    return Ahead(size=len(sent.data), dtype=sent.dtype, shape=sent.shape)


def ask(server: RunningServer, *requests: Request) -> list[scoring_pb2.ScoreStreamResponse]:
    """All responses; raises as our own clients do."""
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        try:
            return list(stub.ScoreStream(iter(requests), timeout=60))
        except grpc.RpcError as error:
            raise error_codec.error_from_proto(error, "server") from error


def test_files_tensors_and_messages_side_by_side(server: RunningServer) -> None:
    """What a client in another language sends: each image in the way that suits it."""
    file, raw = png(LARGE), codec.tensor_to_proto(LARGE).data
    decoded = (LARGE * 255).byte()
    whole = codec.image_to_proto(SMALL)
    answers = ask(
        server,
        Request(id="file", scorer="contrast", image_ahead=Ahead(size=len(file))),
        *chunks(file),
        Request(id="within", scorer="contrast", image=whole),
        Request(
            id="both",
            scorer="distance",
            image_ahead=ahead(LARGE),
            reference_ahead=Ahead(size=len(file)),
        ),
        *chunks(raw),
        *chunks(file, 30_000),
        Request(id="reference", scorer="distance", image=whole, reference_ahead=ahead(SMALL)),
        Request(chunk=codec.tensor_to_proto(SMALL).data),
    )
    assert [answer.id for answer in answers] == ["file", "within", "both", "reference"]
    assert [answer.score for answer in answers] == [
        float(Contrast().score(decoded[None])),
        float(Contrast().score(SMALL[None])),
        float(Distance().score(LARGE[None], decoded[None])),
        0.0,
    ]


RAW = codec.tensor_to_proto(SMALL).data
FLOAT = image_pb2.DATA_TYPE_FLOAT32


@pytest.mark.parametrize(
    ("announced", "data", "error", "field"),
    [
        (Ahead(size=0), b"", InvalidInput, "image_ahead"),
        (Ahead(size=-5), b"", InvalidInput, "image_ahead"),
        (Ahead(size=9), b"no image ", InvalidImage, "image"),
        (Ahead(size=2**20 + 8 * PIXELS + 1), bytes(2**20 + 8 * PIXELS + 1), ImageTooLarge, None),
        (Ahead(size=9, dtype=FLOAT), bytes(9), InvalidInput, "image_ahead"),
        (Ahead(size=4, dtype=FLOAT, shape=[4, 1, 1]), bytes(4), InvalidInput, "image_ahead"),
        (Ahead(size=5, dtype=FLOAT, shape=[1, 1, 1]), bytes(5), InvalidInput, "image_ahead"),
        (Ahead(size=5, dtype=77, shape=[1, 1, 1]), bytes(5), InvalidInput, None),  # type: ignore[arg-type]
        (Ahead(size=4, shape=[1, 1, 1]), bytes(4), InvalidInput, None),
        (Ahead(size=4, dtype=FLOAT, shape=[1, 2**40, 2**40]), bytes(4), ImageTooLarge, None),
        (Ahead(size=4, dtype=FLOAT, shape=[1, -1, -1]), bytes(4), InvalidInput, "image_ahead"),
        (
            Ahead(size=3 * 12 * PIXELS, dtype=5, shape=[3, 300, 300]),
            bytes(3 * 12 * PIXELS),
            InvalidInput,
            None,
        ),
    ],
)
def test_what_is_announced_and_refused_is_passed_over(
    server: RunningServer,
    spool: Spool,
    announced: Ahead,
    data: bytes,
    error: type[RankSRGANError],
    field: str | None,
) -> None:
    """And the stream goes on behind it."""
    wrong, right = ask(
        server,
        Request(id="wrong", scorer="contrast", image_ahead=announced),
        *chunks(data, 60_000),
        Request(id="right", scorer="contrast", image=codec.image_to_proto(SMALL)),
    )
    found = error_codec.item_error_from_proto(wrong.error)
    assert type(found) is error
    assert field is None or found.field == field
    assert (wrong.id, right.id) == ("wrong", "right")
    assert right.score == float(Contrast().score(SMALL[None]))
    assert spool.used == 0


def test_an_image_that_is_there_and_announced_too(server: RunningServer) -> None:
    whole = codec.image_to_proto(SMALL)
    (answer,) = ask(
        server,
        Request(id="1", scorer="contrast", image=whole, image_ahead=ahead(SMALL)),
        Request(chunk=RAW),
    )
    assert answer.error.message == "image: it is there, and announced too"


def test_images_on_their_way_have_bounded_room(server: RunningServer) -> None:
    """Each is small enough by itself; what does not fit is passed over."""
    image = torch.rand(3, 250, 300, dtype=torch.float32)  # 900 kB
    data = codec.tensor_to_proto(image).data
    answers = ask(
        server,
        Request(
            id="two", scorer="distance", image_ahead=ahead(image), reference_ahead=ahead(image)
        ),
        *chunks(data, 50_000),
        *chunks(data, 50_000),
        Request(id="one", scorer="contrast", image_ahead=ahead(image)),
        *chunks(data, 50_000),
    )
    assert isinstance(error_codec.item_error_from_proto(answers[0].error), Overloaded)
    assert answers[1].score == float(Contrast().score(image[None]))


FIRST = Request(
    id="1", scorer="contrast", image_ahead=Ahead(size=len(RAW), dtype=FLOAT, shape=SMALL.shape)
)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([Request(chunk=RAW)], "no image was announced"),
        ([FIRST, Request(chunk=RAW), Request(chunk=b"x")], "or all of it has come"),
        ([FIRST], "the stream ends, and 864 bytes of image are missing"),
        ([FIRST, Request(chunk=RAW[:-1])], "and 1 bytes of image are missing"),
        ([FIRST, Request(chunk=RAW + b"x")], "865 bytes, where 1 to 864 of image"),
        ([FIRST, Request(chunk=b"")], "0 bytes, where"),
        ([FIRST, Request(chunk=RAW[:9]), FIRST], "855 bytes of image are to come"),
        ([FIRST, Request(id="1", chunk=RAW)], "in requests of chunks alone"),
        ([FIRST, Request()], "864 bytes of image are to come"),
    ],
)
def test_chunks_out_of_step_end_the_stream(
    server: RunningServer, spool: Spool, requests: list[Request], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(server, *requests)
    assert spool.used == 0


def test_a_half_sent_image_holds_no_place_and_leaves_nothing(
    server: RunningServer, spool: Spool, contrast: RemoteScorer
) -> None:
    """The one worker answers others, while a client sends nothing and when it has gone."""
    queue: SimpleQueue[Request | None] = SimpleQueue()
    with open_channel(server.address) as channel:
        call = scoring_pb2_grpc.ScoringServiceStub(channel).ScoreStream(iter(queue.get, None))
        queue.put(FIRST)
        queue.put(Request(chunk=RAW[:100]))
        until(lambda: spool.used == 100)
        assert contrast.score(SMALL[None]).tolist() == [float(Contrast().score(SMALL[None]))]
        call.cancel()
        queue.put(None)
    until(lambda: spool.used == 0)


def test_a_server_that_takes_no_chunks_gets_none(start: StartServer) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast()), max_message_bytes=0))
    remote = connect_scorer(server.address, "contrast")
    assert list(remote.score_many([LARGE])) == [float(Contrast().score(LARGE[None]))]
    remote.close()


def test_pixels_are_as_many_as_they_were(contrast: RemoteScorer) -> None:
    """No bytes of chunks are lost, doubled or swapped: a ramp has its own standard deviation."""
    ramp = torch.from_numpy(np.arange(3 * 100 * 250, dtype=np.float64).reshape(3, 100, 250))
    assert list(contrast.score_many([ramp / ramp.numel()])) == [
        float(Contrast().score((ramp / ramp.numel())[None]))
    ]
