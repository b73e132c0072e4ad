"""The comparisons of this server: made from uploads, worked on by a few threads, then forgotten."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts import heaps
from ranksrgan.contracts.errors import ImageTooSmall, Overloaded, UnknownName
from ranksrgan.contracts.images import Picture, decode_image, from_tensor, to_tensor
from ranksrgan.pipeline.web.comparison import Comparison, Judge
from ranksrgan.pipeline.web.services import SCALE, Services
from ranksrgan.rankdata.degradation import crop_to_multiple, degrade, round_to_8_bits


@dataclass(frozen=True)
class Limits:
    """What the page takes on.

    Attributes:
        upload_bytes: of one file.
        pixels: of a picture to enlarge; an original may have `SCALE` squared times as many.
        workers: comparisons worked on at a time.
        queue: comparisons that may wait.
        kept: comparisons that are kept; beyond it, the oldest that has ended is forgotten.
    """

    upload_bytes: int = 32 * 2**20
    pixels: int = 2**20
    workers: int = 2
    queue: int = 6
    kept: int = 24


class Place:
    """Room for one comparison, held until the comparison is there or was not to be."""


class Comparisons:
    """All comparisons.

    Args:
        services: that make and score the results.
        folder: for their files; each comparison has a folder of its own there.
        limits: what to take on.
    """

    def __init__(self, services: Services, folder: Path, limits: Limits) -> None:
        self._services, self._folder, self._limits = services, folder, limits
        self._lock = threading.Lock()
        self._decoding = threading.Semaphore(limits.workers)
        self._places: set[Place] = set()  # of those let in who are not among those there yet
        self._there: dict[str, Comparison] = {}
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="comparison")

    @contextmanager
    def reserve(self) -> Iterator[Place]:
        """Hold a place while an upload comes; one that `start` has not filled is free afterwards.

        Raises:
            Overloaded: too many comparisons wait.
        """
        place = Place()
        with self._lock:
            self._require_room()
            self._places.add(place)
        try:
            yield place
        finally:
            with self._lock:
                self._places.discard(place)

    def start(
        self,
        place: Place,
        data: bytes,
        name: str,
        *,
        original: bool,
        models: Sequence[str],
        scorers: Sequence[str],
    ) -> Comparison:
        """Begin one.

        Args:
            place: that `reserve` holds for it.
            data: an image file's content.
            name: of the file.
            original: whether it is the result that is aimed at, and to be degraded first; if not,
                it is enlarged as it is.
            models: names of the srgan service.
            scorers: each ``ROLE/NAME``.

        Raises:
            InvalidImage: not an image that is read; ImageTooSmall: an original without one pixel
                of low resolution.
            ImageTooLarge: more pixels than `Limits` allow.
            UnknownName: a model or scorer that no service offers.
        """
        specs = [(model, self._services.model(model)) for model in dict.fromkeys(models)]
        judges = [self._judge(scorer) for scorer in dict.fromkeys(scorers)]
        with self._decoding:
            most = self._limits.pixels * (SCALE**2 if original else 1)
            picture = decode_image(data, name=name, max_pixels=most)
            lr, hr = _degraded(picture, name) if original else (picture, None)
            folder = self._folder / secrets.token_urlsafe(16)
            folder.mkdir()
            try:
                comparison = Comparison(name, folder, lr, hr, specs, judges)
                with self._lock:
                    self._pool.submit(_work, comparison)
                    forgotten = self._make_room()
                    self._there[comparison.id] = comparison
                    self._places.discard(place)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        for key in forgotten:
            shutil.rmtree(self._folder / key, ignore_errors=True)
        return comparison

    def find(self, key: str) -> Comparison:
        """The comparison of that id.

        Raises:
            UnknownName: it is not there, or no longer.
        """
        with self._lock:
            comparison = self._there.get(key)
        if comparison is None:
            raise UnknownName(
                "this comparison is not here any more; choose the image again", field="id"
            )
        return comparison

    def retry(self, comparison: Comparison) -> None:
        """Do again what failed or was cancelled.

        Raises:
            Overloaded: too many comparisons wait, or this one has not ended yet.
        """
        with self._lock:
            self._require_room()
            if comparison.restart():
                self._pool.submit(_work, comparison)

    def close(self) -> None:
        """Cancel everything."""
        with self._lock:
            comparisons = list(self._there.values())
        for comparison in comparisons:
            comparison.cancel()
        self._pool.shutdown(cancel_futures=True)

    def _judge(self, scorer: str) -> Judge:
        role, _, name = scorer.partition("/")
        spec, info = self._services.scorer(role, name)
        return Judge(scorer, spec, info)

    def _require_room(self) -> None:
        busy = len(self._places) + sum(comparison.busy for comparison in self._there.values())
        if busy >= self._limits.workers + self._limits.queue:
            raise Overloaded(f"{busy} comparisons are being made; try again in a moment")

    def _make_room(self) -> list[str]:
        """Forget the oldest, whose folders may go once nobody waits for the lock."""
        ended = [comparison.id for comparison in self._there.values() if not comparison.busy]
        forgotten = ended[: max(0, len(self._there) + 1 - self._limits.kept)]
        for key in forgotten:
            del self._there[key]
        return forgotten


def _work(comparison: Comparison) -> None:
    comparison.run()
    heaps.give_back()  # the page may have nothing to do for days


def safe_stem(name: str) -> str:
    """What of a file's name, without suffix, can stand in any file's name: ``image`` at least."""
    last = re.split(r"[\\/]", name)[-1]
    stem = last.rpartition(".")[0] or last
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:64] or "image"


def _degraded(picture: Picture, name: str) -> tuple[Picture, Picture]:
    """The picture of low resolution and the original, 8 bits deep and cropped to match it."""
    if min(picture.height, picture.width) < SCALE:
        raise ImageTooSmall(
            f"{name} is {picture.width} x {picture.height} pixels; an original needs {SCALE} a "
            "side",
            field=name,
        )
    pixels = to_tensor(picture)
    if pixels.dtype.is_floating_point:
        pixels = round_to_8_bits(pixels)
    hr = crop_to_multiple(pixels.expand(-1, 3, -1, -1), SCALE).contiguous()
    lr = from_tensor(degrade(hr, SCALE)[0])
    return (
        Picture(lr.colour, metadata=picture.metadata),
        Picture(from_tensor(hr[0]).colour, metadata=picture.metadata),
    )
