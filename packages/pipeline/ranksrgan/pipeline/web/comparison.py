"""One comparison: a picture, what bicubic interpolation and each model make of it, and the scores.

It is a list of steps, which one thread does in order. Others read the state at any time, and may
cancel: the connection of the step at hand is closed, and the service sees that nobody waits.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from ranksrgan.contracts import atomic, cancellation, open_scorer, open_upscaler
from ranksrgan.contracts.clients.scorer import RemoteScorer
from ranksrgan.contracts.clients.upscaler import RemoteUpscaler
from ranksrgan.contracts.errors import InternalError, Overloaded, RankSRGANError, UnknownName
from ranksrgan.contracts.images import Picture, decode_image, encode_image, to_tensor
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics import Bicubic
from ranksrgan.pipeline.web.replies import describe_error
from ranksrgan.pipeline.web.services import SCALE
from ranksrgan.rankdata.degradation import round_to_8_bits
from ranksrgan.srgan.upscaling.picture import upscale_picture

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]

#: The key of the picture that is enlarged, and those of the results that no model makes.
INPUT, BICUBIC, ORIGINAL = "input", "bicubic", "original"

# A large picture takes a processor minutes.
_UPSCALE_SECONDS, _SCORE_SECONDS = 900.0, 300.0

# How long a cancellation waits for the step at hand to notice it.
_CANCEL_SECONDS = 5.0


@dataclass
class Piece:
    """One result, or one score of one result.

    Attributes:
        state: failed if there is an error; cancelled also where what it builds on is missing.
        error: what went wrong.
        seconds: that it took.
        value: of a score.
    """

    state: State = "waiting"
    error: RankSRGANError | None = None
    seconds: float = 0.0
    value: float | None = None


@dataclass(frozen=True)
class Judge:
    """A scorer of a service: what `open_scorer` takes, and the page's name for it."""

    key: str
    spec: str
    info: ScorerInfo


@dataclass
class Result:
    """One of the pictures that are compared.

    Attributes:
        key: ``bicubic``, ``original``, or ``model-NAME``.
        label: what people call it.
        spec: for `open_upscaler`; None for the two that no service makes.
        image: the picture's piece.
        scores: by the key of the judge.
    """

    key: str
    label: str
    spec: str | None
    image: Piece = field(default_factory=Piece)
    scores: dict[str, Piece] = field(default_factory=dict)


class _Closable(Protocol):
    def close(self) -> None: ...


class Comparison:
    """A comparison and its files.

    Args:
        name: of the uploaded file, for downloads.
        folder: empty, for the pictures as PNG files; its name is the comparison's id.
        lr: the picture to enlarge.
        hr: the original, `SCALE` times as large and 8 bits deep; None if there is none.
        models: names and specs of what enlarges it.
        judges: what scores the results; full-reference ones need ``hr``.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        lr: Picture,
        hr: Picture | None,
        models: Sequence[tuple[str, str]],
        judges: Sequence[Judge],
    ) -> None:
        self.id = folder.name
        self.name = name
        self.judges = [
            judge for judge in judges if hr is not None or not judge.info.needs_reference
        ]
        self.size = (lr.width, lr.height)
        self.results = [
            Result(BICUBIC, "Bicubic", None),
            *(Result(f"model-{model}", model, spec) for model, spec in models),
        ]
        if hr is not None:
            self.results.append(Result(ORIGINAL, "Original", None))
        for result in self.results:
            # An original against itself says nothing.
            wanted = (
                j for j in self.judges if not (result.key == ORIGINAL and j.info.needs_reference)
            )
            result.scores = {judge.key: Piece() for judge in wanted}
        self._folder = folder
        self._reference: Tensor | None = None  # while it is needed: it is large
        atomic.write_bytes(self.file(INPUT), encode_image(lr))
        if hr is not None:
            atomic.write_bytes(self.file(ORIGINAL), encode_image(hr))
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._queued = True  # whoever makes a comparison has `run` called
        self._connection: _Closable | None = None

    def file(self, key: str) -> Path:
        """Where the picture of a result lies, or of the `INPUT`, whether it is there yet or not.

        Raises:
            UnknownName: there is no such result.
        """
        keys = [INPUT, *(result.key for result in self.results)]
        if key not in keys:
            raise UnknownName(
                f"there is no picture {key[:80]!r}, only {', '.join(keys)}", field=key
            )
        return self._folder / f"{keys.index(key)}.png"

    def run(self) -> None:
        """Do what waits. Errors are kept with the pieces that they belong to."""
        with self._lock:
            self._queued = False
            self._idle.clear()
        try:
            with cancellation.scope(lambda: not self._cancelled.is_set()):
                for result in self.results:
                    with self._work_on(result.image) as wanted:
                        if wanted:
                            self._make(result)
                for result in self.results:
                    self._score(result)
        finally:
            self._reference = None
            self._idle.set()

    def restart(self) -> bool:
        """Let everything that is not done wait for another `run`.

        Returns whether that is to be called: one that was cancelled before it began is yet to come.

        Raises:
            Overloaded: the last one has not ended yet.
        """
        with self._lock:
            if not self._idle.is_set():
                raise Overloaded("this comparison is still ending; try again in a moment")
            self._cancelled.clear()
            for piece in self._pieces():
                if piece.state != "done":
                    piece.state, piece.error = "waiting", None
            queued, self._queued = self._queued, True
        return not queued

    def cancel(self) -> None:
        """End what runs and drop what waits; returns when the work has ended, or after seconds."""
        with self._lock:
            self._cancelled.set()
            for piece in self._pieces():
                if piece.state in ("waiting", "running"):
                    piece.state = "cancelled"
        end = time.monotonic() + _CANCEL_SECONDS
        while not self._idle.wait(0.1) and time.monotonic() < end:
            with self._lock:
                connection = self._connection
            if connection is not None:
                connection.close()  # each time: a call that only now begins would open another one

    @property
    def busy(self) -> bool:
        """Whether something waits or is worked on."""
        with self._lock:
            unended = any(piece.state in ("waiting", "running") for piece in self._pieces())
        return unended or not self._idle.is_set()

    def report(self) -> dict[str, Any]:
        """The state of everything, for the page."""
        with self._lock:
            pieces = self._pieces()
            ended = sum(piece.state not in ("waiting", "running") for piece in pieces)
            return {
                "id": self.id,
                "name": self.name,
                "busy": ended < len(pieces),
                "ended": ended,
                "total": len(pieces),
                "width": self.size[0],
                "height": self.size[1],
                "scale": SCALE,
                "original": any(result.key == ORIGINAL for result in self.results),
                "judges": [describe_scorer(judge.key, judge.info) for judge in self.judges],
                "results": [
                    {
                        "key": result.key,
                        "label": result.label,
                        **_describe(result.image),
                        "scores": {key: _describe(piece) for key, piece in result.scores.items()},
                    }
                    for result in self.results
                ],
            }

    def _pieces(self) -> list[Piece]:
        return [
            piece for result in self.results for piece in (result.image, *result.scores.values())
        ]

    @contextmanager
    def _work_on(self, piece: Piece) -> Iterator[bool]:
        """Mark a piece as running and then as what became of it; False if it does not wait."""
        with self._lock:
            wanted = piece.state == "waiting"
            if wanted:
                piece.state = "running"
        if not wanted:
            yield False
            return
        began = time.monotonic()
        error: RankSRGANError | None = None
        try:
            yield True
        except RankSRGANError as failure:
            error = failure
        except Exception as failure:
            if not self._cancelled.is_set():  # a call on a connection that was closed, say
                log.exception("comparison %s", self.id)
            error = InternalError("the page's server failed; its log says how")
            error.__cause__ = failure
        with self._lock:
            piece.seconds = time.monotonic() - began
            if piece.state == "running":
                piece.state, piece.error = ("failed", error) if error else ("done", None)

    def _make(self, result: Result) -> None:
        """Write the picture of a result."""
        if result.key == ORIGINAL:
            return  # it came with the upload
        data = self.file(INPUT).read_bytes()
        if result.spec is None:
            made = encode_image(upscale_picture(decode_image(data), Bicubic(SCALE)))
        else:
            upscaler = cast(RemoteUpscaler, open_upscaler(result.spec, timeout=_UPSCALE_SECONDS))
            with self._connected(upscaler):
                made = upscaler.upscale_encoded(data)
        atomic.write_bytes(self.file(result.key), made)

    def _score(self, result: Result) -> None:
        judges = [judge for judge in self.judges if judge.key in result.scores]
        pixels: Tensor | None = None
        for judge in judges:
            piece = result.scores[judge.key]
            if result.image.state != "done":
                with self._lock:
                    piece.state = "cancelled"
                continue
            with self._work_on(piece) as wanted:
                if wanted:
                    pixels = _pixels(self.file(result.key)) if pixels is None else pixels
                    piece.value = self._judge(judge, pixels)

    def _judge(self, judge: Judge, pixels: Tensor) -> float:
        scorer = cast(RemoteScorer, open_scorer(judge.spec, timeout=_SCORE_SECONDS))
        with self._connected(scorer):
            if not judge.info.needs_reference:
                return float(scorer.score(pixels))
            if self._reference is None:
                self._reference = _pixels(self.file(ORIGINAL))
            return float(scorer.score(pixels, self._reference))

    @contextmanager
    def _connected(self, remote: _Closable) -> Iterator[None]:
        """Let `cancel` reach what the block waits for."""
        with closing(remote):
            with self._lock:
                self._connection = remote
            try:
                cancellation.check()
                yield
            finally:
                with self._lock:
                    self._connection = None


def describe_scorer(key: str, info: ScorerInfo) -> dict[str, Any]:
    """What the page shows of a scorer."""
    return {
        "key": key,
        "name": info.name,
        "higher_is_better": info.higher_is_better,
        "needs_reference": info.needs_reference,
    }


def _describe(piece: Piece) -> dict[str, Any]:
    value = piece.value
    return {
        "state": piece.state,
        "error": None if piece.error is None else describe_error(piece.error),
        "seconds": round(piece.seconds, 3),
        # JSON has no infinity.
        "value": value if value is None or math.isfinite(value) else str(value),
    }


def _pixels(path: Path) -> Tensor:
    """What metrics are defined on: 8 bits."""
    pixels = to_tensor(decode_image(path.read_bytes(), name="the result"))
    return pixels if pixels.dtype == torch.uint8 else round_to_8_bits(pixels)
