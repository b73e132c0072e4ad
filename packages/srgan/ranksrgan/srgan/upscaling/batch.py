"""Enlarging many files: reading and writing beside the network, a few pictures at a time.

The network works in the caller's thread on one picture after the other; other threads decode the
next and encode the last. Strips of a result go to its encoder as the network makes them, so that a
large one is nowhere whole. At most `IN_FLIGHT` pictures are held, however many there are.

Every file stands for itself: one that cannot be done is reported and the rest goes on. A result
appears under its name whole or not at all, and entries come in the order of the jobs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Semaphore
from typing import Any, NamedTuple

from torch import Tensor

from ranksrgan.contracts import atomic, cancellation
from ranksrgan.contracts.errors import (
    DiskFull,
    InternalError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
)
from ranksrgan.contracts.image_files.encoders import open_writer
from ranksrgan.contracts.images import MAX_PIXELS, decode_image, image_bytes
from ranksrgan.contracts.upscaler import FileUpscaler, Upscaler
from ranksrgan.srgan.upscaling.files import Job, Unplanned, plan_files
from ranksrgan.srgan.upscaling.picture import Enlargement, enlargement_for

log = logging.getLogger(__name__)

#: Pictures that are read, enlarged or written at any moment.
IN_FLIGHT = 3

#: Told how much of a picture was done since it was told last: all its numbers make 1 for each.
Progress = Callable[[float], object]


@dataclass(frozen=True)
class Entry:
    """What became of one input.

    Attributes:
        input: as it was given, or found in a folder that was given.
        output: the file that is there now; None if there is none.
        skipped: True if it was there before.
        error: code of the error (``"INVALID_IMAGE"``); None if there was none.
        message: of the error.
        input_size: width and height in pixels, upright; None if it was not read.
        output_size: width and height; None if nothing was written.
        input_bytes: of the file, as it was read.
        output_bytes: of the file.
        seconds: from the network's first sight of the picture until its result was there.
    """

    input: str
    output: str | None = None
    skipped: bool = False
    error: str | None = None
    message: str | None = None
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Report:
    """What became of every input."""

    entries: list[Entry]

    @property
    def failed(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.error is not None]

    def to_json(self) -> dict[str, Any]:
        """``{"files": [...], "done": n, "skipped": n, "failed": n}``."""
        skipped = sum(entry.skipped for entry in self.entries)
        failed = len(self.failed)
        return {
            "files": [asdict(entry) for entry in self.entries],
            "done": len(self.entries) - skipped - failed,
            "skipped": skipped,
            "failed": failed,
        }


@dataclass(frozen=True)
class Storage:
    """How results are made and stored.

    Attributes:
        quality: of JPEG and WebP, 1 to 100.
        skip_existing: leave results alone that are there already. They are whole: no half file ever
            has a result's name. They are not compared with the model or the options.
        max_pixels: of an input; more is refused by its header.
        out_scale: side of the results over that of the inputs; None is the upscaler's scale.
    """

    quality: int = 95
    skip_existing: bool = False
    max_pixels: int = MAX_PIXELS
    out_scale: Fraction | None = None


def upscale_files(
    inputs: Sequence[Path],
    output: Path,
    upscaler: Upscaler,
    *,
    suffix: str = "",
    format: str = "keep",
    storage: Storage | None = None,
) -> Report:
    """Enlarge files and folders of files: `plan_files`, then `run_jobs`."""
    storage = storage or Storage()
    skip = storage.skip_existing
    plan = plan_files(inputs, output, suffix=suffix, format=format, skip_existing=skip)
    done = run_jobs(plan.jobs, upscaler, storage)
    return Report([*map(entry_of, plan.failed), *done])


def entry_of(unplanned: Unplanned) -> Entry:
    """The entry of an input that never became a job."""
    message = _naming(unplanned.input, unplanned.message)
    return Entry(str(unplanned.input), error=InvalidInput.code, message=message)


def run_jobs(
    jobs: Sequence[Job], upscaler: Upscaler, storage: Storage, progress: Progress | None = None
) -> Iterator[Entry]:
    """Do the jobs; an entry comes when its file is written, skipped or given up, in their order.

    What an earlier run that was killed has left of their results is removed before.

    Args:
        jobs: from `plan_files`.
        upscaler: for the colour; it is called from one thread.
        storage: how results are stored.
        progress: is called from other threads, one at a time; not for what is skipped.

    Raises:
        RequestCancelled: nobody waits for the results any more. All other errors become entries.
    """
    told = Lock()

    def tell(share: float) -> None:
        if progress is not None:
            with told:
                progress(share)

    atomic.remove_leftovers(job.output for job in jobs)
    waiting = iter(jobs)
    reading: deque[tuple[Job, Future[_Work | None]]] = deque()
    writing: deque[Future[Entry]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="pictures") as threads:
        try:
            while True:
                for job in islice(waiting, IN_FLIGHT - len(reading) - len(writing)):
                    reading.append((job, threads.submit(_read, job, upscaler, storage)))
                if not reading and not writing:
                    return
                if reading:
                    cancellation.check()
                    writing.append(_enlarge(*reading.popleft(), upscaler, storage, threads, tell))
                else:
                    yield writing.popleft().result()
                while writing and writing[0].done():
                    yield writing.popleft().result()
        except RequestCancelled:
            for entry in writing:  # these have all they need
                yield entry.result()
            raise
        finally:
            for _, read in reading:
                read.cancel()


class _Work(NamedTuple):
    """A job whose input was read."""

    job: Job
    enlargement: Enlargement
    input_bytes: int


class _GivenUp(Exception):
    """In place of a strip: there will be no more, because of ``error``.

    Where that is not ``final``, the picture is yet done in another way.
    """

    def __init__(self, error: BaseException, *, final: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


def _read(job: Job, upscaler: Upscaler, storage: Storage) -> _Work | None:
    """Read the input; None if its result is there already and stays."""
    if _is_there(job.output) and storage.skip_existing:
        return None
    data = image_bytes(job.input)
    picture = decode_image(data, name=str(job.input), max_pixels=storage.max_pixels)
    try:
        enlargement = enlargement_for(picture, upscaler, job.output.suffix, storage.out_scale)
    except InvalidInput as error:
        raise InvalidInput(f"{job.output}: {error}", field=str(job.output)) from error
    return _Work(job, enlargement, len(data))


def _is_there(output: Path) -> bool:
    """Whether there is a result; what stands in the way of one fails before the work for it."""
    try:
        if output.is_dir():
            raise InvalidInput(f"{output} is a folder", field=str(output))
        return output.exists()
    except OSError as error:
        message = f"{output} cannot be written: {error.strerror}"
        raise InvalidInput(message, field=str(output)) from error


def _enlarge(
    job: Job,
    read: Future[_Work | None],
    upscaler: Upscaler,
    storage: Storage,
    threads: ThreadPoolExecutor,
    tell: Progress,
) -> Future[Entry]:
    """Run the network on a picture while another thread encodes what comes out."""
    try:
        work = read.result()
    except Exception as error:
        tell(1)
        return _finished(_failure(job, error))
    if work is None:
        return _finished(Entry(str(job.input), str(job.output), skipped=True))
    strips = _Strips()
    writing = threads.submit(_write, work, strips, storage, tell)
    try:
        for strip in work.enlargement.strips():
            strips.hand_over(strip, writing)
            del strip  # before the next is made
            if writing.done():  # it failed, and so nobody needs the rest
                break
        strips.hand_over(None, writing)
    except BaseException as error:
        too_large = isinstance(error, LimitExceeded) and not isinstance(error, Overloaded)
        other_way = upscaler if too_large and isinstance(upscaler, FileUpscaler) else None
        strips.hand_over(_GivenUp(error, final=other_way is None), writing)
        if other_way is not None:
            wait([writing])
            return _finished(_enlarge_file(work, other_way, storage, tell))
        if isinstance(error, RequestCancelled) or not isinstance(error, Exception):
            wait([writing])
            raise
    return writing


def _enlarge_file(work: _Work, upscaler: FileUpscaler, storage: Storage, tell: Progress) -> Entry:
    """Have a service do what is too large for a message."""
    job = work.job
    started, told = time.perf_counter(), 0.0

    def progress(done: float) -> None:
        nonlocal told
        tell(done - told)
        told = done

    try:
        size = upscaler.upscale_file(
            job.input,
            job.output,
            quality=storage.quality,
            out_scale=storage.out_scale,
            progress=progress,
        )
        return _entry(work, size, started)
    except RequestCancelled:
        raise
    except Exception as error:
        return _failure(job, error)
    finally:
        tell(1 - told)


class _Strips:
    """The strips of a picture on their way from the network to the encoder.

    They are large: while one is encoded the next is made, and there are no others.
    """

    def __init__(self) -> None:
        self._items: SimpleQueue[Tensor | _GivenUp | None] = SimpleQueue()
        self._encoded = Semaphore(1)

    def hand_over(self, item: Tensor | _GivenUp | None, writing: Future[Entry]) -> None:
        """Wait until the one before is encoded, unless the encoder has gone."""
        while not writing.done():
            if self._encoded.acquire(timeout=0.2):
                self._items.put(item)
                return

    def __iter__(self) -> Iterator[Tensor]:
        """For the encoder, which has done with a strip when it asks for the next."""
        while (item := self._items.get()) is not None:
            if isinstance(item, _GivenUp):
                raise item
            yield item
            del item
            self._encoded.release()


def _write(work: _Work, strips: _Strips, storage: Storage, tell: Progress) -> Entry:
    """Encode a result as its strips come, in a thread of its own; never raises."""
    started = time.perf_counter()
    job, enlargement, _ = work
    layout, left = enlargement.layout, 1.0
    try:
        with atomic.replacing(job.output) as temporary, temporary.open("wb") as file:
            writer = open_writer(file, layout, suffix=job.output.suffix, quality=storage.quality)
            for strip in enlargement.pictures(strips):
                writer.write(strip)
                share = strip.height / layout.height
                left -= share
                tell(share)
            writer.close()
        return _entry(work, (layout.width, layout.height), started)
    except _GivenUp as stopped:
        left = left if stopped.final else 0.0
        return _failure(job, stopped.error)
    except DiskFull as error:
        return _failure(job, error)
    except OSError as error:
        message = f"{job.output} cannot be written: {error.strerror or error}"
        return _failure(job, InvalidInput(message, field=str(job.output)))
    except Exception as error:
        return _failure(job, error)
    finally:
        tell(left)


def _entry(work: _Work, output_size: tuple[int, int], started: float) -> Entry:
    """Of a result that is there; its input may have gone meanwhile."""
    job = work.job
    return Entry(
        str(job.input),
        str(job.output),
        input_size=work.enlargement.input_size,
        output_size=output_size,
        input_bytes=work.input_bytes,
        output_bytes=job.output.stat().st_size,
        seconds=round(time.perf_counter() - started, 3),
    )


def _failure(job: Job, error: BaseException) -> Entry:
    entry = Entry(str(job.input))
    if isinstance(error, RankSRGANError):
        return replace(entry, error=error.code, message=_naming(job.input, str(error)))
    # Whatever it is, the next file shall have its turn.
    log.error("%s", job.input, exc_info=error)
    message = f"{job.input}: {type(error).__name__}: {error}"
    return replace(entry, error=InternalError.code, message=message)


def _finished(entry: Entry) -> Future[Entry]:
    done: Future[Entry] = Future()
    done.set_result(entry)
    return done


def _naming(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
