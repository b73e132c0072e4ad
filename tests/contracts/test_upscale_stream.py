"""UpscaleStream through real servers: the local result to the byte, refusals, and both ends."""

from __future__ import annotations

import io
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.client import Connection, RemoteUpscaler, connect_upscaler
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    InvalidImage,
    InvalidInput,
    LimitExceeded,
    NotSupported,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    UnknownName,
)
from ranksrgan.contracts.images import Metadata, Picture, write_image
from ranksrgan.contracts.rpc import (
    RunningServer,
    ServerLimits,
    open_channel,
    start_server,
    wait_until_healthy,
)
from ranksrgan.contracts.serving import upscale_stream
from ranksrgan.contracts.serving.spool import Spool
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_order import StreamLimits
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import FileUpscaler, Upscaler, UpscalerInfo
from ranksrgan.contracts.v1 import super_resolution_pb2, super_resolution_pb2_grpc
from ranksrgan.contracts.wire import error_codec
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.upscaling.batch import Storage, run_jobs
from ranksrgan.srgan.upscaling.files import Job
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.rows import RowsEnlargement
from tests.contracts.served import until
from tests.contracts.stream_server import SCALE

Request = super_resolution_pb2.UpscaleStreamRequest
Response = super_resolution_pb2.UpscaleStreamResponse

PATIENCE = 240.0
SERVER = Path(__file__).with_name("stream_server.py")


class Catalog:
    def __init__(self, **upscalers: Upscaler) -> None:
        self._upscalers = upscalers

    def infos(self) -> list[UpscalerInfo]:
        return [upscaler.info for upscaler in self._upscalers.values()]

    def open(self, name: str) -> Upscaler:
        if name not in self._upscalers:
            raise UnknownName(f"there is no model {name!r}", field="model")
        return self._upscalers[name]


class Endless:
    """Strips of noise, each when it is asked for, that are let go one by one if that is wanted."""

    info = UpscalerInfo("endless", "1", 64, "noise")

    def __init__(self) -> None:
        self.made = 0
        self.free = True
        self.go_on = threading.Event()
        self.waiting = threading.Event()
        self.cancelled = threading.Event()

    def upscale(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def upscale_strips(
        self, read_rows: Callable[[int, int], Tensor], height: int, width: int
    ) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        for top in range(height):
            read_rows(top, top + 1)
            if not self.free and top:
                self.waiting.set()
                try:
                    while not self.go_on.wait(0.01):
                        cancellation.check()
                except RequestCancelled:
                    self.cancelled.set()
                    raise
            self.made += 1
            yield torch.rand((1, 3, 64, 64 * width), generator=generator)


@pytest.fixture(scope="module")
def small() -> GeneratorUpscaler:
    torch.manual_seed(2)
    return GeneratorUpscaler(SRResNet(8, 2, 4), name="small", memory=2**24, tile=24)


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.fixture
def streams(tmp_path: Path) -> UpscaleStreams:
    (tmp_path / "spool").mkdir()
    limits = StreamLimits(max_pixels=10_000, max_bytes=200_000)
    spool = Spool(tmp_path / "spool", 2**21)
    return UpscaleStreams(enlargement_for, RowsEnlargement, limits, spool)


@pytest.fixture
def server(
    tmp_path: Path, small: GeneratorUpscaler, endless: Endless, streams: UpscaleStreams
) -> Iterator[RunningServer]:
    catalog = Catalog(small=small, endless=endless)
    servicer = SuperResolutionServicer(catalog, upscale_picture, max_pixels=100, streams=streams)
    limits = ServerLimits(workers=1, streams=2, max_message_bytes=2**21)
    running = start_server(f"unix:{tmp_path}/s", [servicer], limits)
    yield running
    running.stop()


@pytest.fixture
def upscaler(server: RunningServer) -> Iterator[RemoteUpscaler]:
    remote = connect_upscaler(server.address, "small", timeout=PATIENCE)
    yield remote
    remote.close()


@pytest.fixture
def noise(server: RunningServer) -> Iterator[RemoteUpscaler]:
    remote = connect_upscaler(server.address, "endless", timeout=PATIENCE)
    yield remote
    remote.close()


def picture(
    height: int, width: int, *, channels: int = 3, depth: int = 255, alpha: int = -1
) -> Picture:
    random = np.random.default_rng(height)
    kind = np.uint8 if depth == 255 else np.uint16
    colour = random.integers(0, depth + 1, (height, width, channels)).astype(kind)
    opacity = None
    if alpha >= 0:
        opacity = np.full((height, width), depth, kind)
        opacity[: height // 2] = alpha
    return Picture(colour, opacity, Metadata(icc_profile=b"profile" * 20))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".tif"])
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("in.png", {}),
        ("in.tif", {"depth": 65535}),
        ("in.png", {"alpha": 255}),
        ("in.png", {"channels": 1}),
        ("in.webp", {}),
    ],
)
def test_the_result_is_the_local_one_to_the_byte(
    upscaler: RemoteUpscaler,
    small: GeneratorUpscaler,
    tmp_path: Path,
    suffix: str,
    source: str,
    options: dict[str, int],
) -> None:
    write_image(tmp_path / source, picture(53, 47, **options))
    local, remote = tmp_path / f"local{suffix}", tmp_path / f"remote{suffix}"
    job = Job(tmp_path / source, local)
    (entry,) = run_jobs([job], small, Storage(quality=88))
    assert entry.error is None
    shares: list[float] = []
    size = upscaler.upscale_file(tmp_path / source, remote, quality=88, progress=shares.append)
    assert size == entry.output_size == (188, 212)
    assert remote.read_bytes() == local.read_bytes()
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1
    assert isinstance(upscaler, FileUpscaler)


def test_transparency_and_another_scale(
    upscaler: RemoteUpscaler, small: GeneratorUpscaler, tmp_path: Path
) -> None:
    write_image(tmp_path / "in.png", picture(33, 21, depth=65535, alpha=0))
    scale = Fraction("2.75")
    job = Job(tmp_path / "in.png", tmp_path / "local.png")
    list(run_jobs([job], small, Storage(out_scale=scale)))
    upscaler.upscale_file(tmp_path / "in.png", tmp_path / "remote.png", out_scale=scale)
    assert (tmp_path / "remote.png").read_bytes() == job.output.read_bytes()


def test_the_access_log_names_the_model(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ranksrgan.access"), open_channel(server.address) as channel:
        ask(channel, order(len(PNG)), PNG)
        until(lambda: bool(caplog.records))  # the line comes after the answer
    (line,) = caplog.records
    assert line.getMessage().endswith(" model=small")


def test_a_file_in_many_chunks(tmp_path: Path, small: GeneratorUpscaler) -> None:
    """Several times what a message may hold, and one chunk is not the whole head."""
    random = np.random.default_rng(0)
    write_image(tmp_path / "in.png", Picture(random.integers(0, 256, (900, 900, 3), np.uint8)))
    content = (tmp_path / "in.png").read_bytes()
    streams = UpscaleStreams(enlargement_for, RowsEnlargement)
    servicer = SuperResolutionServicer(Catalog(small=Doubled()), upscale_picture, streams=streams)
    server = start_server(f"unix:{tmp_path}/s", [servicer], ServerLimits(max_message_bytes=2**16))
    try:
        with open_channel(server.address) as channel:
            pieces = [content[at : at + 2**14] for at in range(0, len(content), 2**14)]
            responses = ask(channel, order(len(content), model="small"), *pieces)
    finally:
        server.stop()
    received = [part.received for part in responses if part.HasField("received")]
    assert received == [min(2**14 * (i + 1), len(content)) for i in range(len(pieces))]
    result = b"".join(part.chunk for part in responses if part.HasField("chunk"))
    assert Image.open(io.BytesIO(result)).size == (1800, 1800)
    assert responses[len(pieces)].started == Response.Started(width=900, height=900)
    assert responses[-1].finished.size == len(result) > 2**21
    assert max(len(part.chunk) for part in responses) <= 2**20
    assert streams.spooled == 0


class Doubled:
    """Each pixel becomes four."""

    info = UpscalerInfo("doubled", "1", 2, "nearest")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def order(size: int, **options: object) -> Request:
    given = {"model": "small", "suffix": ".png", **options}
    return Request(order=Request.Order(size=size, **given))  # type: ignore[arg-type]


def ask(channel: grpc.Channel, first: Request, *chunks: bytes) -> list[Response]:
    """All responses; raises as our own clients do."""
    requests = [first, *(Request(chunk=chunk) for chunk in chunks)]
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(channel)
    try:
        return list(stub.UpscaleStream(iter(requests), timeout=PATIENCE))
    except grpc.RpcError as error:
        raise error_codec.error_from_proto(error, "server") from error


def encoded(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(height, width).colour).save(file, "PNG")
    return file.getvalue()


PNG = encoded(8, 9)


@pytest.mark.parametrize(
    ("first", "chunks", "error", "match"),
    [
        (Request(chunk=PNG), [], InvalidInput, "begins with"),
        (Request(), [], InvalidInput, "begins with"),
        (order(len(PNG), model="none"), [PNG], UnknownName, "no model"),
        (order(len(PNG), suffix=".webp"), [PNG], InvalidInput, "suffix"),
        (order(len(PNG), suffix="../x"), [PNG], InvalidInput, "suffix"),
        (order(len(PNG), quality=101), [PNG], InvalidInput, "quality"),
        (order(len(PNG), out_scale_hundredths=-1), [PNG], InvalidInput, "out_scale"),
        (order(len(PNG), out_scale_hundredths=3201), [PNG], InvalidInput, "out_scale"),
        (order(0), [], InvalidInput, "size"),
        (order(-5), [], InvalidInput, "size"),
        (order(200_001), [PNG], LimitExceeded, "at most 200000"),
        (order(len(PNG)), [PNG, b"x"], InvalidInput, "more than"),
        (order(len(PNG) + 1), [PNG], InvalidInput, "came"),
        (order(len(PNG)), [], InvalidInput, "0 of the"),
        (order(len(PNG)), [PNG[:9], b"", PNG[9:]], InvalidInput, "chunk: is empty"),
        (order(9), [b"no image "], InvalidImage, "not a PNG"),
        (order(len(PNG) - 40), [PNG[:-40]], InvalidImage, "damaged"),
        (order(150_000), [encoded(101, 100)[:20_000]], ImageTooLarge, "10000"),
    ],
)
def test_what_is_refused(
    server: RunningServer,
    streams: UpscaleStreams,
    first: Request,
    chunks: list[bytes],
    error: type[RankSRGANError],
    match: str,
) -> None:
    with open_channel(server.address) as channel, pytest.raises(error, match=match):
        ask(channel, first, *chunks)
    assert streams.spooled == 0


def test_costs_are_looked_for_before_the_size(server: RunningServer) -> None:
    """Some thousand profiles, of which each would be unpacked for every chunk that comes."""
    profile = zlib.compress(bytes(2**20))
    chunk = struct.pack(">I", len(profile) + 3) + b"iCCPa\0\0" + profile
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    bomb = PNG[:33] + 20 * chunk + PNG[33:]
    pieces = [bomb[at : at + 100] for at in range(0, len(bomb), 100)]
    refused = pytest.raises(InvalidImage, match="the file has over 10 ICC profiles")
    with open_channel(server.address) as channel, refused:
        ask(channel, order(len(bomb)), *pieces)


def test_a_head_in_small_chunks_is_looked_at_a_few_times(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def look(data: bytes, name: str) -> None:
        looks.append(len(data))

    monkeypatch.setattr(upscale_stream, "check_costs", look)
    with open_channel(server.address) as channel:
        ask(channel, order(len(PNG)), *(PNG[at : at + 10] for at in range(0, len(PNG), 10)))
    assert looks[:-1] == [10 * 2**times for times in range(len(looks) - 1)]
    assert looks[-1] == len(PNG)  # once more, of all


def test_no_image_is_never_said_to_have_started(server: RunningServer) -> None:
    parts = []
    with open_channel(server.address) as channel:
        stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(channel)
        requests = iter([order(9), Request(chunk=b"no image ")])
        stream = stub.UpscaleStream(requests, timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            parts.extend(stream)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert parts == [Response(received=9)]


def test_what_the_server_allows_goes_before_what_pillow_does(
    upscaler: RemoteUpscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is a limit of the process, and has been raised only once a file has been decoded."""
    write_image(tmp_path / "in.png", picture(53, 47))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert upscaler.upscale_file(tmp_path / "in.png", tmp_path / "out.png") == (188, 212)
    assert Image.MAX_IMAGE_PIXELS == 10_000


def test_two_orders_are_refused(server: RunningServer) -> None:
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(open_channel(server.address))
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.UpscaleStream(iter([order(len(PNG)), order(len(PNG))]), timeout=PATIENCE))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_result_that_the_format_cannot_hold(upscaler: RemoteUpscaler, tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture(8, 8, alpha=0))
    with pytest.raises(InvalidInput, match="transparency"):
        upscaler.upscale_file(tmp_path / "in.png", tmp_path / "out.jpg")
    with pytest.raises(InvalidInput, match="two decimals"):
        upscaler.upscale_file(tmp_path / "in.png", tmp_path / "o.png", out_scale=Fraction(1, 3))
    with pytest.raises(InvalidImage, match=r"none\.png"):
        upscaler.upscale_file(tmp_path / "none.png", tmp_path / "out.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "s", "spool"]


def test_a_server_without_streams(tmp_path: Path, small: GeneratorUpscaler) -> None:
    servicer = SuperResolutionServicer(Catalog(small=small), upscale_picture)
    server = start_server(f"unix:{tmp_path}/s", [servicer])
    write_image(tmp_path / "in.png", picture(8, 8))
    try:
        with pytest.raises(NotSupported):
            connect_upscaler(server.address, "small").upscale_file(
                tmp_path / "in.png", tmp_path / "out.png"
            )
    finally:
        server.stop()


def test_a_half_sent_file_leaves_nothing(server: RunningServer, streams: UpscaleStreams) -> None:
    left = threading.Event()

    def half() -> Iterator[Request]:
        yield order(100_000)
        yield Request(chunk=PNG)
        left.wait(PATIENCE)

    with open_channel(server.address) as channel:
        call = super_resolution_pb2_grpc.SuperResolutionServiceStub(channel).UpscaleStream(half())
        assert next(call).received == len(PNG)
        assert streams.spooled == len(PNG)
        call.cancel()
    left.set()
    until(lambda: streams.spooled == 0)


def test_the_spool_is_bounded(server: RunningServer, tmp_path: Path, endless: Endless) -> None:
    write_image(tmp_path / "in.png", picture(60, 4))
    noise = connect_upscaler(server.address, "endless", timeout=PATIENCE)
    with pytest.raises(LimitExceeded, match="more than the 2097152 bytes"):
        noise.upscale_file(tmp_path / "in.png", tmp_path / "out.tif")
    assert endless.made < 60
    assert not (tmp_path / "out.tif").exists()


def test_a_file_that_is_larger_than_the_spool_is_not_told_to_come_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    with spool.file() as other, spool.file() as file:
        other.write(bytes(6))
        with pytest.raises(Overloaded, match="try again later"):
            file.write(bytes(6))
        with pytest.raises(LimitExceeded, match="more than the 10 bytes") as caught:
            file.write(bytes(11))
        assert not isinstance(caught.value, Overloaded)
        assert spool.used == 6


def test_a_spool_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="takes no temporary files"):
        Spool(tmp_path / "none")


def begun(channel: grpc.Channel, file: bytes, timeout: float = PATIENCE) -> Iterator[Response]:
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(channel)
    requests = [order(len(file), model="endless"), Request(chunk=file)]
    call: Iterator[Response] = stub.UpscaleStream(iter(requests), timeout=timeout)
    return call


def test_the_work_waits_for_a_client_that_does_not_read(
    server: RunningServer, endless: Endless
) -> None:
    """What is made, in bytes, stays near what was read, however long the reader takes."""
    ahead = read = 0
    with open_channel(server.address) as channel:
        for response in begun(channel, encoded(400, 16)):
            read += len(response.chunk)
            if response.HasField("chunk") and read < 5e6:
                time.sleep(0.3)  # long enough for a server that does not wait to run away
            ahead = max(ahead, endless.made * 64 * 64 * 16 * 3 - read)
    assert endless.made == 400
    assert read > 70e6
    assert ahead < 12e6


@pytest.mark.parametrize("how", ["cancel", "deadline", "gone"])
def test_work_ends_with_its_client(
    server: RunningServer,
    streams: UpscaleStreams,
    endless: Endless,
    upscaler: RemoteUpscaler,
    tmp_path: Path,
    how: str,
) -> None:
    endless.free = False
    channel = open_channel(server.address)
    timeout = 2.0 if how == "deadline" else PATIENCE
    call = begun(channel, encoded(9, 8), timeout)
    while not endless.waiting.wait(timeout):  # a slow machine: the deadline came before the work
        timeout *= 2
        call = begun(channel, encoded(9, 8), timeout)
    if how == "cancel":
        call.cancel()  # type: ignore[attr-defined]
    elif how == "gone":
        channel.close()
    assert endless.cancelled.wait(PATIENCE)
    if how == "deadline":
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    channel.close()
    until(lambda: streams.spooled == 0)
    write_image(tmp_path / "in.png", picture(8, 8))
    until(lambda: done_after_all(upscaler, tmp_path))  # both places of streams, and the worker


def done_after_all(upscaler: RemoteUpscaler, folder: Path) -> bool:
    try:
        return upscaler.upscale_file(folder / "in.png", folder / "out.png") == (32, 32)
    except Overloaded:
        return False


def test_a_server_that_stops_finishes_the_file(
    server: RunningServer, noise: RemoteUpscaler, endless: Endless, tmp_path: Path
) -> None:
    """One that has begun; others are refused meanwhile."""
    endless.free = False
    write_image(tmp_path / "in.png", picture(6, 4))
    with ThreadPoolExecutor(2) as threads:
        file = threads.submit(noise.upscale_file, tmp_path / "in.png", tmp_path / "out.png")
        assert endless.waiting.wait(PATIENCE)
        stopping = threads.submit(server.stop, PATIENCE)
        until(lambda: not wait_until_healthy(server.address, timeout=0.1))
        with pytest.raises(ServiceUnavailable):
            noise.upscale_file(tmp_path / "in.png", tmp_path / "another.png")
        assert not stopping.done()
        endless.go_on.set()
        file.result(PATIENCE)
        stopping.result(PATIENCE)
    with Image.open(tmp_path / "out.png") as found:
        assert found.size == (64 * 4, 64 * 6)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["in.png", "out.png"]


def test_a_client_that_is_told_to_stop(
    noise: RemoteUpscaler, endless: Endless, tmp_path: Path
) -> None:
    write_image(tmp_path / "in.png", picture(99, 16))
    (tmp_path / "out.png").write_bytes(b"before")
    with (
        cancellation.scope(lambda: endless.made < 10),
        pytest.raises(RequestCancelled),
    ):
        noise.upscale_file(tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "s", "spool"]


def test_a_client_that_gets_nothing_for_too_long(
    server: RunningServer, endless: Endless, tmp_path: Path
) -> None:
    endless.free = False
    write_image(tmp_path / "in.png", picture(9, 8))
    connection = Connection(server.address, timeout=1.0, retry_for=0)
    noise = RemoteUpscaler(connection, OpenedModel("endless"), Endless.info)
    with pytest.raises(DeadlineExceeded):
        noise.upscale_file(tmp_path / "in.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


class Served:
    """The server of `stream_server`, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/own.sock"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVER), self.address])
        assert wait_until_healthy(self.address, timeout=PATIENCE)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def peak(self) -> int:
        """The most bytes that it had in memory since this was asked last."""
        folder = Path(f"/proc/{self.process.pid}")
        lines = (folder / "status").read_text().splitlines()
        (found,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        (folder / "clear_refs").write_text("5")
        return found * 1024


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.kill()


def test_a_server_that_is_killed_in_the_middle(served: Served, tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture(400, 300))
    (tmp_path / "out.png").write_bytes(b"before")
    kills = iter([served.kill])

    def kill_once(share: float) -> None:
        next(kills, lambda: None)()

    squares = connect_upscaler(served.address, "squares", timeout=PATIENCE)
    with pytest.raises(ServiceUnavailable):
        squares.upscale_file(tmp_path / "in.png", tmp_path / "out.png", progress=kill_once)
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))


def test_a_file_begins_anew_where_a_server_comes_back(served: Served, tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture(400, 300))

    def restart() -> None:
        served.kill()
        served.start()

    kills = iter([restart])
    squares = connect_upscaler(served.address, "squares", timeout=PATIENCE, retry_for=PATIENCE)
    squares.upscale_file(
        tmp_path / "in.png",
        tmp_path / "out.png",
        progress=lambda share: next(kills, lambda: None)(),
    )
    with Image.open(tmp_path / "out.png") as found, Image.open(tmp_path / "in.png") as source:
        assert found.size == (SCALE * 300, SCALE * 400)
        assert np.array_equal(np.asarray(found)[::SCALE, ::SCALE], np.asarray(source))


def test_memory_does_not_grow_with_the_result(served: Served, tmp_path: Path) -> None:
    """2 and 25 megapixels, which differ by 69 MB as integers and by 276 MB as floating point."""
    squares = connect_upscaler(served.address, "squares", timeout=PATIENCE)
    peaks = []
    for height in (64, 64, 800):
        write_image(tmp_path / "in.png", picture(height, 490))
        served.peak()
        squares.upscale_file(tmp_path / "in.png", tmp_path / "out.png")
        peaks.append(served.peak())
    assert peaks[2] - peaks[1] < 24e6


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_hundred_megapixels(served: Served, tmp_path: Path, suffix: str) -> None:
    squares = connect_upscaler(served.address, "squares", timeout=PATIENCE)
    peaks = []
    for side in (64, 1250):
        write_image(tmp_path / "in.png", picture(side, side))
        served.peak()
        size = squares.upscale_file(tmp_path / "in.png", tmp_path / f"out{suffix}")
        peaks.append(served.peak())
    assert size == (10_000, 10_000)
    # The input's pixels and wider strips; the result is 300 MB as integers, and four times that as
    # floating point.
    assert peaks[1] - peaks[0] < 160e6
