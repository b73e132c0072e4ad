"""UpscaleStream of rows: the local result to the bit, row by row both ways, and flat memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.client import RemoteUpscaler, connect_upscaler
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InternalError,
    InvalidInput,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    UnknownName,
)
from ranksrgan.contracts.images import Picture, encode_image, from_tensor, to_tensor
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.rpc import RunningServer, ServerLimits, open_channel, start_server
from ranksrgan.contracts.serving.arriving_rows import ArrivingRows
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_order import StreamLimits
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.contracts.v1 import super_resolution_pb2, super_resolution_pb2_grpc
from ranksrgan.contracts.wire import codec, error_codec
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.rows import RowsEnlargement
from tests.contracts.served import until
from tests.contracts.stream_server import Lines
from tests.contracts.test_upscale_stream import PATIENCE, Catalog, Doubled, Served, served

__all__ = ["served"]

Request = super_resolution_pb2.UpscaleStreamRequest
Response = super_resolution_pb2.UpscaleStreamResponse

FLOAT = RowImage(61, 45, 3, torch.float32)


@pytest.fixture(scope="module")
def small() -> GeneratorUpscaler:
    torch.manual_seed(2)
    # Tiles of a strip are those of the whole.
    return GeneratorUpscaler(SRResNet(8, 2, 4), name="small", memory=2**24, tile=24)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def server(tmp_path: Path, small: GeneratorUpscaler, lines: Lines) -> Iterator[RunningServer]:
    limits = StreamLimits(max_pixels=4000, max_side=1000)
    models: dict[str, Upscaler] = {"small": small, "lines": lines, "doubled": Doubled()}
    servicer = SuperResolutionServicer(
        Catalog(**models),
        upscale_picture,
        streams=UpscaleStreams(enlargement_for, RowsEnlargement, limits),
    )
    running = start_server(f"unix:{tmp_path}/s", [servicer], ServerLimits(workers=1, streams=2))
    yield running
    running.stop()


@pytest.fixture
def upscaler(server: RunningServer) -> Iterator[RemoteUpscaler]:
    remote = connect_upscaler(server.address, "small", timeout=PATIENCE)
    yield remote
    remote.close()


@pytest.fixture
def doubling(server: RunningServer) -> Iterator[RemoteUpscaler]:
    remote = connect_upscaler(server.address, "lines", timeout=PATIENCE)
    yield remote
    remote.close()


def pixels(image: RowImage) -> Tensor:
    torch.manual_seed(image.width)
    size = (1, image.channels, image.height, image.width)
    if image.dtype == torch.uint8:
        return torch.randint(0, 256, size, dtype=torch.uint8)
    return torch.rand(size).to(image.dtype)


def rows_of(images: Tensor, asked: list[tuple[int, int]] | None = None) -> Callable[..., Tensor]:
    def read(top: int, bottom: int) -> Tensor:
        if asked is not None:
            asked.append((top, bottom))
        return images[:, :, top:bottom]

    return read


def joined(strips: Iterator[Tensor]) -> Tensor:
    return torch.cat(list(strips), 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.uint8])
def test_the_result_is_the_local_one_to_the_bit(
    upscaler: RemoteUpscaler, small: GeneratorUpscaler, dtype: torch.dtype
) -> None:
    image = RowImage(61, 45, 3, dtype)
    images = pixels(image)
    as_floats = images.float() / 255 if dtype == torch.uint8 else images.float()
    expected = small.upscale(as_floats)
    found = joined(upscaler.upscale_rows(image, rows_of(images)))
    assert torch.equal(found, expected)
    rounded = joined(upscaler.upscale_rows(image, rows_of(images), result=torch.uint8))
    assert torch.equal(rounded[0], to_tensor(from_tensor(expected[0]))[0])


def test_grey_is_the_luma_of_the_result(upscaler: RemoteUpscaler, small: GeneratorUpscaler) -> None:
    image = RowImage(30, 21, 1, torch.uint8)
    images = pixels(image)
    picture = Picture(images[0].permute(1, 2, 0).numpy())
    found = joined(upscaler.upscale_rows(image, rows_of(images), result=torch.uint8))
    expected = to_tensor(upscale_picture(picture, small))
    assert found.shape == (1, 1, 120, 84)
    assert torch.equal(found, expected)


def test_another_scale(upscaler: RemoteUpscaler, small: GeneratorUpscaler) -> None:
    image = RowImage(30, 21, 3, torch.uint8)
    images, scale = pixels(image), Fraction("2.75")
    rows = upscaler.upscale_rows(image, rows_of(images), out_scale=scale, result=torch.uint8)
    picture = Picture(images[0].permute(1, 2, 0).numpy())
    expected = to_tensor(upscale_picture(picture, small, out_scale=scale))
    found = joined(rows)
    assert found.shape == (1, 3, 83, 58)
    assert torch.equal(found, expected)
    exact = joined(upscaler.upscale_rows(image, rows_of(images), out_scale=scale))
    assert 0 <= float(exact.min()) <= float(exact.max()) <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_rows_become_a_file(server: RunningServer, small: GeneratorUpscaler, suffix: str) -> None:
    image = RowImage(30, 21, 3, torch.uint8)
    colour = pixels(image)[0].permute(1, 2, 0).numpy()
    data = colour.tobytes()
    # Chunks end anywhere.
    chunks = [data[at : at + 100] for at in range(0, len(data), 100)]
    with open_channel(server.address) as channel:
        responses = ask(channel, order(image, suffix=suffix, result=0), *chunks)
    found = b"".join(part.chunk for part in responses)
    assert responses[0].started == Response.Started(width=21, height=30)
    assert responses[-1].finished.size == len(found)
    expected = encode_image(upscale_picture(Picture(colour), small), suffix=suffix)
    with Image.open(io.BytesIO(found)) as ours, Image.open(io.BytesIO(expected)) as theirs:
        assert ours.size == (84, 120)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_an_upscaler_without_strips_sees_the_whole(server: RunningServer) -> None:
    remote = connect_upscaler(server.address, "doubled", timeout=PATIENCE)
    images = pixels(FLOAT)
    found = joined(remote.upscale_rows(FLOAT, rows_of(images)))
    assert torch.equal(found, Doubled().upscale(images))
    large = RowImage(81, 50, 3, torch.uint8)
    with pytest.raises(ImageTooLarge, match="see 81 rows at a time, and at most 4000"):
        list(remote.upscale_rows(large, rows_of(pixels(large))))
    remote.close()


def test_the_top_is_there_before_the_bottom_is_read(doubling: RemoteUpscaler) -> None:
    """The bottom rows are not to be had until the top of the result has come."""
    image = RowImage(900, 700, 3, torch.float32)
    images, top_is_there = pixels(image), threading.Event()
    asked: list[tuple[int, int]] = []

    def read(top: int, bottom: int) -> Tensor:
        asked.append((top, bottom))
        if top > image.height // 2:
            assert top_is_there.wait(PATIENCE)
        return images[:, :, top:bottom]

    strips = doubling.upscale_rows(image, read)
    first = next(strips)
    assert asked[-1][1] < image.height
    top_is_there.set()
    assert torch.equal(joined(iter([first, *strips])), Lines().upscale(images))
    assert [top for top, _ in asked] == [0, *(bottom for _, bottom in asked[:-1])]
    assert asked[-1][1] == image.height


def test_a_client_that_does_not_read_is_waited_for(doubling: RemoteUpscaler, lines: Lines) -> None:
    """Neither rows nor results pile up: what was asked for stays near what was read."""
    image = RowImage(1000, 1000, 3, torch.float32)
    images = pixels(image)
    asked: list[tuple[int, int]] = []
    ahead = read = 0
    for strip in doubling.upscale_rows(image, rows_of(images, asked)):
        read += strip.shape[2]
        if read < 400:
            # Long enough for a server that does not wait to run away.
            threading.Event().wait(0.05)
        ahead = max(ahead, 2 * lines.made - read)
        assert 2 * asked[-1][1] - read < 2000 or read > 1000
    assert read == 2000
    # A row of the result has 24 kB: 12 MB are on their way at most.
    assert ahead < 500


def test_nobody_waits_for_a_client_that_sends_nothing(
    server: RunningServer, doubling: RemoteUpscaler
) -> None:
    """The one place and the device are free while rows are waited for."""
    image, go_on, waiting = RowImage(600, 700, 3, torch.float32), threading.Event(), []
    images = pixels(image)

    def read(top: int, bottom: int) -> Tensor:
        if top:
            waiting.append(top)
            assert go_on.wait(PATIENCE)
        return images[:, :, top:bottom]

    strips = doubling.upscale_rows(image, read)
    first = next(strips)
    until(lambda: bool(waiting))
    other = torch.rand(1, 3, 5, 4)
    assert torch.equal(doubling.upscale(other), Lines().upscale(other))
    go_on.set()
    assert torch.equal(joined(iter([first, *strips])), Lines().upscale(images))


def order(image: RowImage = FLOAT, **options: object) -> Request:
    given = {"model": "small", "result": 4, "size": image.size, **options}
    rows = codec.row_image_to_proto(image)
    return Request(order=Request.Order(rows=rows, **given))  # type: ignore[arg-type]


def rows(height: int, width: int, channels: int = 3, dtype: int = 4) -> Request.Rows:
    return Request.Rows(height=height, width=width, channels=channels, dtype=dtype)  # type: ignore[arg-type]


def ask(channel: grpc.Channel, first: Request, *chunks: bytes | Request) -> list[Response]:
    """All responses; raises as our own clients do."""
    parts = [part if isinstance(part, Request) else Request(chunk=part) for part in chunks]
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(channel)
    try:
        return list(stub.UpscaleStream(iter([first, *parts]), timeout=PATIENCE))
    except grpc.RpcError as error:
        raise error_codec.error_from_proto(error, "server") from error


ROW = bytes(45 * 3 * 4)


@pytest.mark.parametrize(
    ("first", "chunks", "error", "field"),
    [
        (order(model="none"), [], UnknownName, None),
        (order(suffix=".png"), [], InvalidInput, "order.result"),
        (order(result=0), [], InvalidInput, "order.suffix"),
        (order(result=0, suffix=".webp"), [], InvalidInput, "order.suffix"),
        (order(result=5), [], InvalidInput, "order.result"),
        (order(result=77), [], InvalidInput, "order.result"),
        (order(quality=101), [], InvalidInput, "order.quality"),
        (order(size=FLOAT.size - 1), [], InvalidInput, "order.size"),
        (order(size=-1), [], InvalidInput, "order.size"),
        (Request(order=Request.Order(model="small", result=4)), [], InvalidInput, "order.result"),
        *(
            (Request(order=Request.Order(model="small", result=4, size=60, rows=wrong)), [], *what)
            for wrong, what in (
                (rows(0, 5), (InvalidInput, "rows.height")),
                (rows(5, -5), (InvalidInput, "rows.width")),
                (rows(5, 5, channels=4), (InvalidInput, "rows.channels")),
                (rows(5, 5, dtype=0), (InvalidInput, "rows.dtype")),
                (rows(5, 1001), (ImageTooLarge, "order.rows")),
                (rows(2**62, 2**62), (ImageTooLarge, "order.rows")),
            )
        ),
        (order(), [], InvalidInput, "chunk"),
        (order(), [ROW * 60, ROW[:-1]], InvalidInput, "chunk"),
        (order(), [ROW * 60, ROW, b"x"], InvalidInput, "chunk"),
        (order(), [ROW * 60, ROW + b"x"], InvalidInput, "chunk"),
        (order(), [ROW, order()], InvalidInput, "chunk"),
        (order(), [ROW, Request()], InvalidInput, "chunk"),
        (order(), [ROW, b"", ROW * 60], InvalidInput, "chunk"),
        (order(), [ROW * 60, ROW, b""], InvalidInput, "chunk"),
        (order(), [np.full(45 * 3 * 61, 2, np.float32).tobytes()], InvalidInput, "images"),
        (order(), [np.full(45 * 3 * 61, np.nan, np.float32).tobytes()], InvalidInput, "images"),
    ],
)
def test_what_is_refused(
    server: RunningServer,
    first: Request,
    chunks: list[bytes | Request],
    error: type[RankSRGANError],
    field: str | None,
) -> None:
    with open_channel(server.address) as channel, pytest.raises(error) as caught:
        ask(channel, first, *chunks)
    if field is not None:
        assert caught.value.field == field


def test_rows_of_another_kind_are_found_out_here(upscaler: RemoteUpscaler) -> None:
    for wrong in (torch.rand(1, 3, 61, 44), torch.zeros(1, 3, 61, 45, dtype=torch.uint8)):
        with pytest.raises(InvalidInput, match=r"\(1, 3, 61, 45\) of torch.float32 is wanted"):
            list(upscaler.upscale_rows(FLOAT, rows_of(wrong)))
    with pytest.raises(InvalidInput, match="two decimals"):
        list(upscaler.upscale_rows(FLOAT, rows_of(pixels(FLOAT)), out_scale=Fraction(1, 3)))


def test_what_reading_the_rows_raises_reaches_the_caller(upscaler: RemoteUpscaler) -> None:
    def broken(top: int, bottom: int) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(upscaler.upscale_rows(FLOAT, broken))


def test_rows_that_were_not_waited_for_are_not_made_up() -> None:
    with pytest.raises(InternalError, match="0 to 2 are not there"):
        ArrivingRows(FLOAT, iter([])).read(0, 2)


def test_work_ends_with_its_client(doubling: RemoteUpscaler, lines: Lines) -> None:
    image = RowImage(1000, 1000, 3, torch.float32)
    strips = doubling.upscale_rows(image, rows_of(pixels(image)))
    next(strips)
    strips.close()  # type: ignore[attr-defined]
    other = torch.rand(1, 3, 5, 4)
    assert torch.equal(doubling.upscale(other), Lines().upscale(other))
    assert lines.made < 1000
    # Both places of streams are free again.
    for _ in range(2):
        small_image = RowImage(5, 4, 3, torch.float32)
        assert len(joined(doubling.upscale_rows(small_image, rows_of(other)))) == 1


def test_a_client_that_is_told_to_stop(doubling: RemoteUpscaler, lines: Lines) -> None:
    image = RowImage(1000, 1000, 3, torch.float32)
    with cancellation.scope(lambda: lines.made < 20), pytest.raises(RequestCancelled):
        list(doubling.upscale_rows(image, rows_of(pixels(image))))


def test_memory_does_not_grow_with_the_image(served: Served) -> None:
    """24 MB of rows come at most, and 96 MB go."""
    lines = connect_upscaler(served.address, "lines", timeout=PATIENCE)
    strip, peaks = torch.rand(1, 3, 100, 2000), []

    def some(top: int, bottom: int) -> Tensor:
        return strip[:, :, : bottom - top]

    for height in (100, 100, 1000):
        image = RowImage(height, 2000, 3, torch.float32)
        served.peak()
        made = 0
        for rows in lines.upscale_rows(image, some):
            made += rows.shape[2]
        assert made == 2 * height
        peaks.append(served.peak())
    assert peaks[2] - peaks[1] < 16e6


def test_a_server_that_is_killed_in_the_middle(served: Served) -> None:
    squares = connect_upscaler(served.address, "squares", timeout=PATIENCE)
    image = RowImage(400, 500, 3, torch.uint8)
    strips = squares.upscale_rows(image, rows_of(pixels(image)))
    next(strips)
    served.kill()
    with pytest.raises(ServiceUnavailable):
        list(strips)
