"""What is made of an image, on its way to the client of ``UpscaleStream`` while it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from ranksrgan.contracts.image_files.encoders import Layout, PictureWriter
from ranksrgan.contracts.image_files.picture import Picture
from ranksrgan.contracts.row_image import rows_to_bytes
from ranksrgan.contracts.serving.spool import Spool, SpooledFile
from ranksrgan.contracts.v1 import super_resolution_pb2

Response = super_resolution_pb2.UpscaleStreamResponse

# A TIFF begins with the place of what is written last.
_SPOOLED = frozenset({".tif", ".tiff"})

# Bytes of a chunk of the result.
_CHUNK = 2**20
# Share of the result after which a client that gets no chunk hears of it.
_STEP = 0.01


class Output(Protocol):
    """What an encoder writes to."""

    def write(self, data: bytes) -> int: ...

    def ready(self) -> Iterator[bytes]:
        """Chunks that nothing is written over any more."""
        ...

    def rest(self) -> Iterator[bytes]:
        """All other chunks, when the encoder is done."""
        ...


@contextmanager
def open_output(suffix: str, spool: Spool) -> Iterator[Output]:
    """An output for a format; an empty suffix is for rows."""
    if suffix not in _SPOOLED:
        yield _Pipe()
        return
    with spool.file() as file:
        yield _Kept(file)


def written_pictures(pictures: Iterable[Picture], writer: PictureWriter) -> Iterator[int]:
    """Write a file strip by strip, each when it is asked for; yields the rows of each."""
    for picture in pictures:
        writer.write(picture)
        yield picture.height
    writer.close()


def written_rows(bands: Iterable[Tensor], output: Output, dtype: torch.dtype) -> Iterator[int]:
    """Write rows band by band, likewise."""
    for band in bands:
        output.write(rows_to_bytes(band, dtype))
        yield band.shape[-2]


def send(written: Iterable[int], output: Output, layout: Layout) -> Iterator[Response]:
    """The responses that bring a result.

    Args:
        written: writes some rows to ``output`` whenever it is asked, and says how many.
        output: of a new result.
        layout: of the result.
    """
    digest, size = hashlib.sha256(), 0
    done = told = 0.0

    def chunks(pieces: Iterator[bytes]) -> Iterator[Response]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield Response(chunk=piece)

    for rows in written:
        yield from chunks(output.ready())
        done += rows / layout.height
        if done - told >= _STEP:
            told = done
            yield Response(progress=min(done, 1.0))
    yield from chunks(output.rest())
    finished = Response.Finished(
        size=size, width=layout.width, height=layout.height, sha256=digest.hexdigest()
    )
    yield Response(finished=finished)


class _Pipe:
    """For encoders that never go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._size += len(data)
        return len(data)

    def ready(self) -> Iterator[bytes]:
        if self._size < _CHUNK:
            return
        joined = b"".join(self._parts)
        full = self._size - self._size % _CHUNK
        self._parts, self._size = [joined[full:]], self._size - full
        for at in range(0, full, _CHUNK):
            yield joined[at : at + _CHUNK]

    def rest(self) -> Iterator[bytes]:
        yield from self.ready()
        if self._size:
            yield b"".join(self._parts)


class _Kept:
    """For encoders that go back to the beginning."""

    def __init__(self, file: SpooledFile) -> None:
        self._file = file
        self.write, self.seek, self.tell = file.write, file.seek, file.tell

    def ready(self) -> Iterator[bytes]:
        return iter(())

    def rest(self) -> Iterator[bytes]:
        return self._file.pieces(_CHUNK)
