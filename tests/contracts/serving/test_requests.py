"""Requests of more than is taken at a time: images, and fields of whatever kind."""

from __future__ import annotations

import grpc
import pytest
import torch

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.errors import LimitExceeded, RequestCancelled
from ranksrgan.contracts.rpc import check_health, open_channel
from ranksrgan.contracts.serving import images, well_formed
from ranksrgan.contracts.serving.images import MAX_IMAGES, read_batches
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2
from ranksrgan.contracts.wire.fields import has_more_fields
from tests.contracts.conftest import Catalog, Contrast, StartServer
from tests.contracts.watcher import PATIENCE, Watcher

PIXEL = image_pb2.Image(tensor=image_pb2.Tensor(dtype=1, shape=[3, 1, 1], data=b"abc"))
PLACE = image_pb2.SharedTensor(
    segment="ranksrgan-0123456789abcdef", offset=2**31, dtype=1, shape=[3, 1024, 1024]
)
SERVICE = "/ranksrgan.contracts.v1.ScoringService/"


def test_a_request_has_so_many_images() -> None:
    ((batch, _),) = read_batches([PIXEL] * MAX_IMAGES, [], 1)
    assert batch.shape == (MAX_IMAGES, 3, 1, 1)
    more = [PIXEL] * (MAX_IMAGES + 1)
    with pytest.raises(LimitExceeded, match=r"4097 are too many .* may have 4096") as caught:
        read_batches(more, more, 1)
    assert caught.value.field == "images"


def test_as_many_images_as_there_may_be_have_fewer_fields_than_there_may_be() -> None:
    pairs = [image_pb2.Image(shared=PLACE)] * MAX_IMAGES
    request = scoring_pb2.ScoreGradientRequest(
        scorer="x",
        images=pairs,
        references=pairs,
        gradients=[PLACE] * MAX_IMAGES,
        parameters_hash="ab" * 32,
    )
    data = request.SerializeToString()
    assert not has_more_fields(data, request.DESCRIPTOR, well_formed.MOST_FIELDS)


def test_images_are_read_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    decode = images.codec.image_from_proto
    monkeypatch.setattr(
        images.codec, "image_from_proto", lambda *what: read.append(0) or decode(*what)
    )
    with cancellation.scope(lambda: len(read) < 3), pytest.raises(RequestCancelled):
        read_batches([PIXEL] * 10, [], 1)
    assert len(read) == 3


@pytest.mark.parametrize("method", ["Score", "ScoreStream", "ListScorers"])
def test_a_request_of_too_many_fields_is_not_parsed(
    start: StartServer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(well_formed, "MOST_FIELDS", 100)
    watcher = Watcher()
    server = start(ScoringServicer(Catalog(contrast=Contrast())), observers=[watcher])
    with open_channel(server.address) as channel:
        call = channel.stream_stream(SERVICE + method)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b"\x12\x00" * 101]), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "the request has over 100 fields; send less at a time"
    assert watcher.requests == [(method, "RESOURCE_EXHAUSTED")]
    connect_scorer(server.address, "contrast", timeout=PATIENCE).score(torch.rand(12, 3, 2, 2))


def test_the_same_of_health(start: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(well_formed, "MOST_FIELDS", 100)
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    with open_channel(server.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x12\x00" * 101, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert check_health(server.address)
