"""Tensors through shared memory and real servers: used where it can be, and bytes elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidInput,
    LimitExceeded,
    ServiceUnavailable,
    SharedMemoryUnavailable,
    UndefinedScore,
)
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.rpc import ServerLimits, open_channel, wait_until_healthy
from ranksrgan.contracts.serving.images import read_batches
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec, request_segments, tensor_transport
from ranksrgan.contracts.wire.request_segments import RequestSegments, SegmentCache
from ranksrgan.contracts.wire.shared_memory import Place, Segment, create_segment
from tests.contracts.conftest import Catalog, Contrast, StartServer
from tests.contracts.served import until

IMAGES = torch.rand((3, 3, 20, 24), generator=torch.Generator().manual_seed(0))


class Seen:
    """What went through shared memory."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read: list[Place] = []
        self.written: list[Place] = []
        read, write = RequestSegments.read, RequestSegments.write

        def reading(segments: RequestSegments, place: Place, field: str) -> Tensor:
            self.read.append(place)
            return read(segments, place, field)

        def writing(segments: RequestSegments, place: Place, tensor: Tensor, field: str) -> None:
            self.written.append(place)
            write(segments, place, tensor, field)

        patch.setattr(RequestSegments, "read", reading)
        patch.setattr(RequestSegments, "write", writing)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


@pytest.fixture
def scorer(start: StartServer, tmp_path: Path) -> Iterator[RemoteScorer]:
    server = start(ScoringServicer(Catalog(contrast=Contrast())), address=f"unix:{tmp_path}/s")
    scorer = connect_scorer(server.address, "contrast")
    yield scorer
    scorer.close()


def expect(scorer: RemoteScorer, images: Tensor = IMAGES) -> tuple[Tensor, Tensor]:
    """A call's results, which are those of the scorer itself."""
    scores, gradients = scorer.gradient(images)
    ours, theirs = Contrast().gradient(images)
    assert torch.equal(scores, ours)
    assert torch.equal(gradients, theirs)
    assert gradients.dtype == theirs.dtype
    return scores, gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_images_and_gradients_go_through_it(
    scorer: RemoteScorer, seen: Seen, dtype: torch.dtype
) -> None:
    expect(scorer, IMAGES.to(dtype))
    assert [place.shape for place in seen.read] == [IMAGES.shape]
    assert [place.shape for place in seen.written] == [IMAGES.shape]
    assert len({place.segment for place in [*seen.read, *seen.written]}) == 1


def test_every_layout_of_a_tensor_travels(scorer: RemoteScorer, seen: Seen) -> None:
    for images in (IMAGES.transpose(2, 3), IMAGES[:, :1], IMAGES[::2, :, ::2], IMAGES.flip(0)):
        assert torch.equal(scorer.score(images), Contrast().score(images))
    levels = (IMAGES * 255).byte()
    assert torch.equal(scorer.score(levels), Contrast().score(levels))
    assert [len(place.shape) for place in seen.read] == [4] * 5


def test_a_segment_serves_one_call_after_the_other(scorer: RemoteScorer, seen: Seen) -> None:
    for size in (20, 10, 24):
        expect(scorer, IMAGES[..., :size])
    assert len({place.segment for place in seen.read}) == 1


def test_results_stay_what_they_are_while_they_are_held(scorer: RemoteScorer, seen: Seen) -> None:
    held = [expect(scorer, IMAGES * scale) for scale in (1.0, 0.5, 0.25)]
    for scale, (_, gradients) in zip((1.0, 0.5, 0.25), held, strict=True):
        assert torch.equal(gradients, Contrast().gradient(IMAGES * scale)[1])
    assert len({place.segment for place in seen.read}) == 3
    held.clear()
    expect(scorer)
    assert len({place.segment for place in seen.read}) == 3


def test_an_empty_tensor_of_the_scorer_travels_without_a_copy(
    scorer: RemoteScorer, seen: Seen
) -> None:
    images = scorer.empty(IMAGES.shape).copy_(IMAGES)
    _, gradients = expect(scorer, images)
    assert torch.equal(images, IMAGES)  # the results lie elsewhere
    assert seen.read[0].segment != seen.written[0].segment
    expect(scorer, images[1:])
    (whole, part) = seen.read
    assert (part.segment, part.shape) == (whole.segment, (2, 3, 20, 24))
    assert part.offset == whole.offset + whole.size // 3
    levels = scorer.empty(IMAGES.shape, torch.uint8).copy_(IMAGES * 255)
    assert torch.equal(scorer.score(levels), Contrast().score(levels))
    # Results are tensors that lie there too.
    assert torch.equal(scorer.score(gradients), Contrast().score(gradients))
    assert seen.read[-1].segment == seen.written[0].segment


def test_an_empty_tensor_is_used_again_when_it_was_dropped(
    scorer: RemoteScorer, seen: Seen
) -> None:
    for scale in (1.0, 0.5):
        images = scorer.empty(IMAGES.shape).copy_(IMAGES * scale)
        assert torch.equal(scorer.score(images), Contrast().score(IMAGES * scale))
        del images
    assert len({place.segment for place in seen.read}) == 1


def test_an_empty_tensor_of_another_layout_is_copied(scorer: RemoteScorer, seen: Seen) -> None:
    images = scorer.empty((3, 20, 24, 3)).copy_(IMAGES.movedim(1, 3)).movedim(3, 1)
    expect(scorer, images)
    assert seen.read[0].shape == IMAGES.shape


def test_where_nothing_can_be_shared_an_empty_tensor_is_any_other(
    start: StartServer, seen: Seen
) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    scorer = connect_scorer(server.address, "contrast")
    expect(scorer, scorer.empty(IMAGES.shape).copy_(IMAGES))
    assert seen.read == []


def test_a_batch_without_images_is_refused_as_elsewhere(scorer: RemoteScorer) -> None:
    with pytest.raises(InvalidInput, match="none were sent"):
        scorer.score(torch.zeros(0, 3, 8, 8))


class Whole(Contrast):
    """`Contrast` that says that it computes on a GPU, and where it found its images."""

    joining = Joining("never", torch.device("cuda", 0))

    def __init__(self) -> None:
        self.devices: list[str] = []

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.devices.append(images.device.type)
        return super().gradient(images, references)


@pytest.mark.cuda
def test_what_a_gpu_scores_comes_there_whole_through_pinned_memory(
    start: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[str] = []
    pin = Segment.pin

    def pinning(segment: Segment, device: torch.device) -> None:
        pin(segment, device)
        pinned.append(segment.name)
        assert segment.tensor(Place(segment.name, torch.uint8, (1,), 0)).is_pinned()

    monkeypatch.setattr(Segment, "pin", pinning)
    whole = Whole()
    server = start(ScoringServicer(Catalog(whole=whole)), address=f"unix:{tmp_path}/s")
    scorer = connect_scorer(server.address, "whole")
    images = IMAGES.cuda()
    scores, gradients = scorer.gradient(images)
    ours, theirs = Contrast().gradient(images)
    assert torch.equal(scores, ours)
    assert torch.equal(gradients, theirs)
    assert gradients.is_cuda
    assert whole.devices == ["cuda"]
    assert len(set(pinned)) == 1
    assert len(pinned) == 4  # to and from the segment, here and there
    scorer.close()


def test_threads_share_a_scorer(scorer: RemoteScorer) -> None:
    wrong: list[object] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(10):
            images = torch.rand((2, 3, 16, 16), generator=generator)
            scores, gradients = scorer.gradient(images)
            ours, theirs = Contrast().gradient(images)
            if not (torch.equal(scores, ours) and torch.equal(gradients, theirs)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_call_that_failed_leaves_its_segment_to_the_server(
    scorer: RemoteScorer, seen: Seen
) -> None:
    expect(scorer)
    with pytest.raises(UndefinedScore):
        scorer.gradient(torch.zeros(1, 3, 4, 4))
    expect(scorer)
    assert seen.read[1].segment == seen.read[0].segment != seen.read[-1].segment


def test_over_tcp_bytes_travel(start: StartServer, seen: Seen) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    expect(connect_scorer(server.address, "contrast"))
    assert seen.read == []


def test_a_server_that_does_not_know_of_it(
    start: StartServer, tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_segments, "available", lambda: False)
    server = start(ScoringServicer(Catalog(contrast=Contrast())), address=f"unix:{tmp_path}/s")
    expect(connect_scorer(server.address, "contrast"))
    assert seen.read == []


def test_without_memory_bytes_travel(
    scorer: RemoteScorer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(pool: object, size: int) -> Segment:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_transport.SegmentPool, "take", full)
    expect(scorer)
    expect(scorer)
    assert seen.read == []


def test_a_segment_that_the_server_cannot_reach(
    scorer: RemoteScorer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = tensor_transport.SegmentPool.take

    def of_another_pid_namespace(pool: tensor_transport.SegmentPool, size: int) -> Segment:
        segment = create(pool, size)
        segment.name = segment.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
        return segment

    monkeypatch.setattr(tensor_transport.SegmentPool, "take", of_another_pid_namespace)
    expect(scorer)
    tried = len(seen.read)
    assert tried == 1
    expect(scorer)
    assert len(seen.read) == tried


def shared(segment: Segment, *shape: int, at: int = 0) -> image_pb2.SharedTensor:
    return codec.shared_tensor_to_proto(Place(segment.name, torch.float32, shape, at))


def call(address: str, request: scoring_pb2.ScoreGradientRequest) -> None:
    from ranksrgan.contracts.client import Connection

    connection = Connection(address, timeout=60, retry_for=0)
    stub = scoring_pb2_grpc.ScoringServiceStub(connection.channel())
    try:
        connection.call(stub.ScoreGradient, request)
    finally:
        connection.close()


@pytest.fixture
def segment() -> Segment:
    segment = create_segment(2**16)
    segment.tensor(Place(segment.name, torch.float32, (2**14,), 0)).copy_(torch.rand(2**14))
    return segment


def test_named_over_tcp_it_is_refused(start: StartServer, segment: Segment) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())))
    image = image_pb2.Image(shared=shared(segment, 3, 4, 4))
    request = scoring_pb2.ScoreGradientRequest(scorer="contrast", images=[image])
    with pytest.raises(SharedMemoryUnavailable, match="through a unix socket"):
        call(server.address, request)


def test_in_a_stream_it_is_refused(start: StartServer, tmp_path: Path, segment: Segment) -> None:
    server = start(ScoringServicer(Catalog(contrast=Contrast())), address=f"unix:{tmp_path}/s")
    image = image_pb2.Image(shared=shared(segment, 3, 4, 4))
    request = scoring_pb2.ScoreStreamRequest(id="1", scorer="contrast", image=image)
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        (response,) = stub.ScoreStream(iter([request]), timeout=60)
    assert response.error.reason == "SHARED_MEMORY_UNAVAILABLE"


def test_requests_that_cannot_be(start: StartServer, tmp_path: Path, segment: Segment) -> None:
    limits = ServerLimits(max_message_bytes=2**12)
    address = f"unix:{tmp_path}/s"
    start(
        ScoringServicer(Catalog(contrast=Contrast()), max_pixels=1000),
        address=address,
        limits=limits,
    )
    good = shared(segment, 3, 4, 4)

    def ask(
        images: list[image_pb2.SharedTensor], gradients: list[image_pb2.SharedTensor]
    ) -> scoring_pb2.ScoreGradientRequest:
        return scoring_pb2.ScoreGradientRequest(
            scorer="contrast",
            images=[image_pb2.Image(shared=image) for image in images],
            gradients=gradients,
        )

    call(address, ask([good], [shared(segment, 3, 4, 4, at=512)]))
    call(address, ask([good], []))
    nowhere = shared(segment, 3, 4, 4)
    nowhere.segment = "/dev/shm/ranksrgan"
    untyped = shared(segment, 3, 4, 4)
    untyped.dtype = image_pb2.DATA_TYPE_UNSPECIFIED
    wrong: list[tuple[scoring_pb2.ScoreGradientRequest, type[Exception], str]] = [
        (ask([nowhere], []), InvalidInput, "images[0].segment"),
        (ask([untyped], []), InvalidInput, "images[0].dtype"),
        (ask([good, shared(segment, 3, 4, 4, at=2**16)], []), InvalidInput, "images[1]"),
        (ask([shared(segment, 4, 4)], []), InvalidInput, "images[0]"),
        (ask([shared(segment, 3, 40, 40)], []), ImageTooLarge, "images[0]"),
        (ask([good] * 30, []), LimitExceeded, "images[21]"),
        (ask([good], [good, good]), InvalidInput, "gradients"),
        (ask([good], [shared(segment, 3, 4, 5)]), InvalidInput, "gradients[0]"),
        (ask([good], [nowhere]), InvalidInput, "gradients[0].segment"),
    ]
    for request, error, field in wrong:
        with pytest.raises(error) as caught:
            call(address, request)
        assert getattr(caught.value, "field", None) == field


def test_images_side_by_side_are_a_batch_as_they_are(segment: Segment) -> None:
    room = segment.tensor(Place(segment.name, torch.float32, (5, 3, 4, 4), 0))
    room.copy_(torch.rand(5, 3, 4, 4))
    at = [image_pb2.Image(shared=shared(segment, 3, 4, 4, at=192 * i)) for i in range(5)]

    def read(places: list[int]) -> torch.Tensor:
        with request_segments.scope(RequestSegments(SegmentCache(), 2**20)):
            ((batch, against),) = read_batches([at[i] for i in places], [], 64)
        assert against is None
        assert torch.equal(batch, room[places])
        return batch

    whole, inner = read([0, 1, 2, 3, 4]), read([2, 3])
    whole[3].zero_()
    assert not room[3].any()  # no copies
    assert not inner[1].any()
    for others in ([1, 0], [0, 2], [3, 3], [0, 1, 2, 4]):
        before = room.clone()
        read(others).fill_(0.5)
        assert torch.equal(room, before)  # a copy


def test_images_in_shared_memory_that_differ_are_read_one_by_one(segment: Segment) -> None:
    wide, deep = shared(segment, 3, 4, 5, at=192), shared(segment, 3, 4, 4, at=192)
    deep.dtype = image_pb2.DATA_TYPE_FLOAT64
    first = image_pb2.Image(shared=shared(segment, 3, 4, 4))
    for other, shape in ((wide, (1, 3, 4, 5)), (deep, (1, 3, 4, 4))):
        with request_segments.scope(RequestSegments(SegmentCache(), 2**20)):
            batches = read_batches([first, image_pb2.Image(shared=other)], [], 64)
        assert [tuple(batch.shape) for batch, _ in batches] == [(1, 3, 4, 4), shape]


def test_offsets_at_the_end_of_what_a_number_holds_are_no_batch(segment: Segment) -> None:
    last = shared(segment, 3, 4, 4, at=2**63 - 192)
    assert codec.shared_batch_from_proto([last, last], "images[0]") is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_are_read_where_they_lie(segment: Segment, dtype: torch.dtype) -> None:
    segments = RequestSegments(request_segments.SegmentCache(), 2**16)
    place = Place(segment.name, dtype, (3, 4, 4), 0)
    image = segments.read(place, "images[0]")
    segment.tensor(place).fill_(1)
    assert bool((image == 1).all())


def mapped(server: int, client: int) -> bool:
    """Whether a server has segments of a client."""
    return f"/memfd:ranksrgan-{client}-" in Path(f"/proc/{server}/maps").read_text()


_CLIENT = """
import sys, torch
from ranksrgan.contracts.client import connect_scorer
scorer = connect_scorer(sys.argv[1], "mean")
result = scorer.gradient(torch.rand(2, 3, 64, 64))
print("done", flush=True)
sys.stdin.read()
"""


class Mean:
    """The mean of each image."""

    info = ScorerInfo("mean", "1", True, False, True, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images.double().flatten(1).mean(dim=1)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.score(images), torch.full_like(images, 1 / images[0].numel())


def test_of_a_client_that_is_killed_nothing_stays(start: StartServer, tmp_path: Path) -> None:
    server = start(ScoringServicer(Catalog(mean=Mean())), address=f"unix:{tmp_path}/s")
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, server.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"done\n"
        assert mapped(os.getpid(), client.pid)
        client.send_signal(signal.SIGKILL)
    until(lambda: not mapped(os.getpid(), client.pid))


def test_a_client_that_closes_leaves_nothing(scorer: RemoteScorer, seen: Seen) -> None:
    expect(scorer)
    key = seen.read[0].segment.rpartition("-")[2]
    assert key in Path("/proc/self/maps").read_text()
    scorer.close()
    until(lambda: key not in Path("/proc/self/maps").read_text())


_SERVER = """
import sys
sys.path.insert(0, sys.argv[2])
from ranksrgan.contracts.rpc import Services, serve
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from tests.contracts.conftest import Catalog
from tests.contracts.test_shared_tensors import Mean
services = Services([ScoringServicer(Catalog(mean=Mean()))])
settings = ServerSettings(listen=sys.argv[1])
sys.exit(serve(settings, [ScoringServicer.full_name], lambda observers: services))
"""


def test_a_server_that_is_killed_takes_nothing_along(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    command = [sys.executable, "-c", _SERVER, address, str(Path(__file__).parents[2])]
    with subprocess.Popen(command) as server:
        assert wait_until_healthy(address, timeout=240)
        scorer = connect_scorer(address, "mean")
        first = scorer.gradient(IMAGES)
        assert mapped(server.pid, os.getpid())
        server.send_signal(signal.SIGKILL)
    with pytest.raises(ServiceUnavailable):
        scorer.gradient(IMAGES)
    with subprocess.Popen(command) as server:
        assert wait_until_healthy(address, timeout=240)
        again = scorer.gradient(IMAGES)
        server.terminate()
    assert torch.equal(again[0], first[0])
    assert torch.equal(again[1], first[1])
