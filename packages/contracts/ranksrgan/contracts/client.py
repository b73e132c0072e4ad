"""Scorers and upscalers that live in another process."""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import torch
from torch import Tensor

from ranksrgan.contracts import codec, error_codec
from ranksrgan.contracts.asking import Asked, Asking, carried_back
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    NotSupported,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    SharedMemoryUnavailable,
)
from ranksrgan.contracts.recording import recording
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.rpc import open_channel
from ranksrgan.contracts.score_stream_client import AROUND, Outgoing, ScoreStream, outgoing
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.tensor_transport import Parcel, Transport
from ranksrgan.contracts.upscale_rows_client import ReadRows, stream_rows
from ranksrgan.contracts.upscale_stream_client import stream_file
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import (
    features_pb2,
    features_pb2_grpc,
    image_pb2,
    scoring_pb2,
    scoring_pb2_grpc,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Servers that are asked at once when one refuses because it stops: its name may stand for several,
# among which calls take turns.
_OTHERS = 3


class Connection:
    """Calls to one address, with a deadline each and patience while nobody answers or all is full.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one attempt may take.
        retry_for: seconds from the first failure during which UNAVAILABLE is tried again, and a
            full server after the time that it names (one that names none is not asked again). Every
            method of our services may be repeated without harm. A server that refuses because it
            stops, or loads, is no reason to wait as long as another of its name takes the call.

    Attributes:
        max_message_bytes: that the server takes in one request, and else in chunks; 0 if it takes
            no chunks.
    """

    def __init__(self, address: str, *, timeout: float, retry_for: float) -> None:
        self.address = address
        self.timeout = timeout
        self._retry_for = retry_for
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._process = 0
        self.max_message_bytes = 0
        self.tensors = Transport(address)

    def channel(self) -> grpc.Channel:
        """The channel of this process: one from before a fork must not be used after it."""
        with self._lock:
            if self._channel is None or self._process != os.getpid():
                self._channel = open_channel(self.address)
                self._process = os.getpid()
            return self._channel

    def call(self, method: Callable[..., Any], request: Any) -> Any:
        """Call a stub's method; raises the class of error that the server raised."""
        return self.attempt(lambda: method(request, timeout=self.timeout))

    def exchange(
        self,
        tensors: Sequence[Tensor | None],
        room: int,
        work: Callable[[Parcel], Result],
        *,
        over_images: bool = False,
    ) -> Result:
        """Do a call that takes tensors, and again as `attempt` does; see `Transport.send`.

        Where a segment cannot be reached by the server, bytes travel from then on.
        """

        def send() -> Result:
            return self.tensors.send(tensors, room, work, over_images=over_images)

        try:
            return self.attempt(send)
        except SharedMemoryUnavailable as refusal:
            log.info("%s; bytes travel instead", refusal)
            self.tensors.shared = False
        return self.attempt(send)

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Do what may fail with a gRPC error, again while that may pass and there is patience."""
        give_up: float | None = None
        others = 0 if self.address.startswith("unix:") else _OTHERS
        unanswered = 0.1
        while True:
            try:
                return work()
            except grpc.RpcError as failure:
                error = self.error_of(failure)
                now = time.monotonic()
                give_up = now + self._retry_for if give_up is None else give_up
                if isinstance(error, ServiceUnavailable):
                    if others and error_codec.is_answer(failure):
                        others -= 1
                        continue
                    pause, unanswered = unanswered, min(2 * unanswered, 2.0)
                elif isinstance(error, Overloaded) and error.retry_after is not None:
                    # Others were told the same time, and are not to come all at once.
                    pause = max(error.retry_after, 0.01) * random.uniform(1.0, 1.5)
                else:
                    raise error from failure
                if now + pause > give_up:
                    raise error from failure
            time.sleep(pause)

    def error_of(self, failure: grpc.RpcError) -> RankSRGANError:
        """The error that a failed call stands for, which nobody here has cancelled."""
        error = error_codec.error_from_proto(failure, self.address)
        if isinstance(error, RequestCancelled):  # it is what a server that stops does to calls
            return ServiceUnavailable(f"the service at {self.address} ended the call")
        return error

    def read(self, call: Any, what: str) -> Any:
        """`read_in_time`, with the class of error that the server raised."""
        try:
            return read_in_time(call, self, what)
        except grpc.RpcError as failure:
            raise self.error_of(failure) from failure

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = None
        self.tensors.close()


def read_in_time(call: Any, connection: Connection, what: str) -> Any:
    """The next response of a stream within the connection's timeout; None at the end.

    A deadline of the call would be one for all of its responses together.

    Args:
        call: what a stub's streaming method returned; ended if the time is over.
        connection: that it goes through.
        what: one response, in the words of a message.

    Raises:
        DeadlineExceeded: none came in time.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        call.cancel()

    timer = threading.Timer(connection.timeout, give_up)
    timer.start()
    try:
        return next(call, None)
    except grpc.RpcError as error:
        if late.is_set():
            raise DeadlineExceeded(
                f"the service at {connection.address} took more than {connection.timeout:g} s for "
                f"{what}"
            ) from error
        raise
    finally:
        timer.cancel()


class RemoteScorer:
    """A scorer behind a ``ScoringService``: same values to the bit, same errors by class.

    Where the scorer is differentiable, results carry gradients to images that require them: the
    server's d(score)/d(image) becomes the backward pass. Those of another scorer carry none.
    """

    def __init__(self, connection: Connection, name: str, info: ScorerInfo) -> None:
        self._connection = connection
        self._name = name  # as the server knows it
        self._info = info

    @property
    def info(self) -> ScorerInfo:
        return self._info

    @property
    def recordable(self) -> bool:
        """See `Recordable`; by `begin` alone."""
        return self._info.differentiable

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score`.

        A single image that no message of the server's holds goes in chunks.
        """
        wanted = images.requires_grad and torch.is_grad_enabled()
        if wanted and self._info.differentiable:
            scored: Tensor = _ScoreGradient.apply(images, references, self)  # type: ignore[no-untyped-call]
            return scored
        if self._goes_in_chunks(images, references):
            one = images[0] if references is None else (images[0], references[0])
            (outcome,) = self.score_many([one])
            if isinstance(outcome, RankSRGANError):
                raise outcome
            return self._scores([outcome], images)

        def work(parcel: Parcel) -> Tensor:
            request = scoring_pb2.ScoreRequest(
                scorer=self._name,
                images=parcel.images(images, "images"),
                references=parcel.images(references, "references"),
            )
            answer = self._stub().Score(request, timeout=self._connection.timeout)
            return self._scores(answer.scores, images)

        return self._connection.exchange([images, references], 0, work)

    def begin(self, images: Tensor) -> Callable[[], Tensor]:
        """`score` in two halves, for images that require a gradient: what is returned gives it.

        While work of a GPU is recorded (`Recording`), the service is asked whenever that is
        repeated, and the GPU goes on with what has been recorded in between. Otherwise it is asked
        in the second half.

        Raises:
            NotSupported: it has no gradient.
        """
        if not self._info.differentiable:
            raise NotSupported(f"{self._name} has no gradient", field="scorer")
        if not recording():
            return partial(self.score, images)
        asking = Asking(self.gradient, images)

        def wait() -> Tensor:
            scored: Tensor = Asked.apply(images, asking)  # type: ignore[no-untyped-call]
            return scored

        return wait

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `DifferentiableScorer.gradient`."""
        if not self._info.differentiable:
            raise NotSupported(f"{self._name} has no gradient", field="scorer")

        def work(parcel: Parcel) -> tuple[Tensor, Tensor]:
            request = scoring_pb2.ScoreGradientRequest(
                scorer=self._name,
                images=parcel.images(images, "images"),
                references=parcel.images(references, "references"),
                gradients=parcel.room(tuple(images.shape), images.dtype),
            )
            answer = self._stub().ScoreGradient(request, timeout=self._connection.timeout)
            scores = self._scores(answer.scores, images)
            if request.gradients and not answer.gradients:
                return scores, parcel.results(images.device)
            gradients = [codec.tensor_from_proto(gradient) for gradient in answer.gradients]
            shapes = {gradient.shape for gradient in gradients}
            if len(gradients) != len(images) or shapes - {images.shape[1:]}:
                raise InternalError(f"{self._connection.address} sent gradients of another shape")
            return scores, torch.stack(gradients).to(images.device)

        room = images.numel() * images.element_size()
        return self._connection.exchange([images, references], room, work, over_images=True)

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor to fill that this scorer's server, and others on this machine, read in place.

        Calls with other tensors copy them first, which takes as long as a fast metric: fill this
        one, score it, and fill it again; or a part of it, `images[:n]`. It is not to change while a
        call that was given it lasts. Where no memory can be shared it is any other tensor.

        Args:
            shape: ``(N, 3|1, H, W)``.
            dtype: uint8, or floating point.

        Returns:
            A tensor on the CPU, its values arbitrary.
        """
        return self._connection.tensors.empty(tuple(shape), dtype)

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.extract`.

        Raises:
            NotSupported: the scorer has no features, or its server no ``FeatureService``.
        """
        stub = features_pb2_grpc.FeatureServiceStub(self._connection.channel())

        def work(parcel: Parcel) -> list[dict[str, Tensor]]:
            request = features_pb2.ExtractFeaturesRequest(
                scorer=self._name, images=parcel.images(images, "images")
            )
            answer = stub.ExtractFeatures(request, timeout=self._connection.timeout)
            return [codec.feature_set_from_proto(message) for message in answer.features]

        sets = self._connection.exchange([images], 0, work)
        kinds = {
            tuple((name, array.shape, array.dtype) for name, array in features.items())
            for features in sets
        }
        if len(sets) != len(images) or len(kinds) != 1:
            raise InternalError(
                f"{self._connection.address} sent {len(sets)} feature sets of {len(kinds)} kinds "
                f"for {len(images)} images of one size"
            )
        return {
            name: torch.stack([features[name] for features in sets]).to(images.device)
            for name in sets[0]
        }

    def score_many(
        self, images: Iterable[Tensor | tuple[Tensor, Tensor]], *, in_flight: int = 8
    ) -> Iterator[float | RankSRGANError]:
        """Score one image after the other through a single stream, however many there are.

        Scores are those of `score` on one image. An image larger than the server's message limit
        goes in chunks by itself. What is wrong with an image is yielded in its place, and the
        stream goes on. ``images`` is read as results are taken: no more than
        ``in_flight`` images are on their way or waiting, so an endless iterable is fine.

        Args:
            images: each ``(3|1, H, W)`` as in `Scorer.score`, or a pair of it and its reference.
            in_flight: images sent before the first result is waited for, 1 or more.

        Yields:
            For each image, in order, its score or the error that `score` would raise.

        Raises:
            InvalidInput: ``in_flight`` is less than 1.
            DeadlineExceeded: one result took longer than the timeout.
            LimitExceeded: an image is larger than a message, and the server takes no chunks.
            ServiceUnavailable: the server went, and did not come back in time; a stream that a
                restart interrupts goes on where it was if there is patience for it.
        """
        if in_flight < 1:
            raise InvalidInput(f"in_flight is {in_flight}; 1 or more is wanted", field="in_flight")
        return self._score_many(images, in_flight)

    def _score_many(
        self, images: Iterable[Tensor | tuple[Tensor, Tensor]], in_flight: int
    ) -> Iterator[float | RankSRGANError]:
        stream = ScoreStream(self._connection)
        # An image on its way, or the reason why it could not even be sent.
        waiting: deque[Outgoing | RankSRGANError] = deque()

        def result() -> float | RankSRGANError:
            head = waiting.popleft()
            return head if isinstance(head, RankSRGANError) else stream.receive()

        try:
            for position, image in enumerate(images):
                try:
                    sent = outgoing(self._name, position, image, self._connection.max_message_bytes)
                except RankSRGANError as error:
                    waiting.append(error)
                else:
                    waiting.append(sent)
                    stream.send(sent)
                if len(waiting) == in_flight:
                    yield result()
            while waiting:
                yield result()
            stream.finish()
        finally:
            stream.close()

    def close(self) -> None:
        self._connection.close()

    def _goes_in_chunks(self, images: Tensor, references: Tensor | None) -> bool:
        batches = [images] if references is None else [images, references]
        size = sum(batch.numel() * batch.element_size() for batch in batches)
        most = self._connection.max_message_bytes
        alone = all(batch.ndim == 4 and len(batch) == 1 for batch in batches)
        return alone and not self._connection.tensors.shared and 0 < most < size + AROUND

    def _stub(self) -> scoring_pb2_grpc.ScoringServiceStub:
        return scoring_pb2_grpc.ScoringServiceStub(self._connection.channel())

    def _scores(self, scores: Any, images: Tensor) -> Tensor:
        if len(scores) != len(images):
            raise InternalError(
                f"{self._connection.address} sent {len(scores)} scores for {len(images)} images"
            )
        return torch.tensor(list(scores), dtype=torch.float64, device=images.device)


class RemoteUpscaler:
    """A model behind a ``SuperResolutionService``."""

    def __init__(self, connection: Connection, name: str, info: UpscalerInfo) -> None:
        self._connection = connection
        self._name = name  # as the server knows it
        self._info = info

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    def upscale(self, images: Tensor) -> Tensor:
        """See `Upscaler.upscale`."""

        def work(parcel: Parcel) -> Tensor:
            request = super_resolution_pb2.UpscaleRequest(
                model=self._name,
                images=parcel.images(images, "images"),
                results=parcel.room(self._enlarged(images), torch.float32),
            )
            answer = self._answer(request)
            if all(image.HasField("shared") for image in answer.images):
                return parcel.results(images.device)
            enlarged = [codec.tensor_from_proto(image.tensor) for image in answer.images]
            return torch.stack(enlarged).to(images.device)

        room = math.prod(self._enlarged(images)) * torch.float32.itemsize
        return self._connection.exchange([images], room, work)

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor to fill that the server reads in place; see `RemoteScorer.empty`."""
        return self._connection.tensors.empty(tuple(shape), dtype)

    def upscale_encoded(self, data: bytes) -> bytes:
        """Enlarge an image file's content; PNG comes back, with transparency and bit depth kept."""
        images = [image_pb2.Image(encoded=data)]
        request = super_resolution_pb2.UpscaleRequest(model=self._name, images=images)
        answer = self._connection.attempt(lambda: self._answer(request))
        encoded: bytes = answer.images[0].encoded
        return encoded

    def upscale_file(
        self,
        source: Path,
        target: Path,
        *,
        quality: int = 95,
        out_scale: Fraction | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> tuple[int, int]:
        """See `FileUpscaler.upscale_file`: a stream both ways, so that no limit of messages counts.

        Raises:
            NotSupported: the server takes no streams.
            DeadlineExceeded: nothing came for longer than the timeout.
        """
        return stream_file(
            self._connection,
            self._name,
            source,
            target,
            quality=quality,
            out_scale=out_scale,
            progress=progress,
        )

    def upscale_rows(
        self,
        image: RowImage,
        read_rows: ReadRows,
        *,
        out_scale: Fraction | None = None,
        result: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Enlarge an image that is nowhere whole: not here, not in the server.

        Rows are read as the server takes them, and it takes them as what it makes of them is read
        here. Strips are those of an upscaler in this process that makes strips of the same tiles,
        to the bit in float32. An image of one channel is grey and stays so.

        Args:
            image: what comes.
            read_rows: is asked for every row once, in order, from another thread: (0, a), (a, b),
                ... (z, height); gives ``(1, channels, bottom - top, width)`` of the image's type.
                What it raises is raised here.
            out_scale: side of the result over that of the image, up to two decimals; None is the
                upscaler's scale.
            result: float32, as the model makes it, or uint8, which is rounded.

        Yields:
            Rows of the result from the top down, ``(1, channels, n, scale * width)`` of type
            ``result``, in [0, 1] or 0 to 255; n as it comes.

        Raises:
            NotSupported: the server takes no streams.
            InvalidInput: rows of another shape or type, values that are no pixels, or an option
                that cannot be.
            ImageTooLarge: more pixels a side, or more at a time, than the server takes.
            DeadlineExceeded: nothing came for longer than the timeout.
            ServiceUnavailable: the server went; rows that were read are not sent again.
        """
        return stream_rows(
            self._connection,
            self._info,
            self._name,
            image,
            read_rows,
            out_scale=out_scale,
            result=result,
        )

    def close(self) -> None:
        self._connection.close()

    def _answer(
        self, request: super_resolution_pb2.UpscaleRequest
    ) -> super_resolution_pb2.UpscaleResponse:
        stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(self._connection.channel())
        answer = stub.Upscale(request, timeout=self._connection.timeout)
        if len(answer.images) != len(request.images):
            raise InternalError(
                f"{self._connection.address} sent {len(answer.images)} images for "
                f"{len(request.images)}"
            )
        response: super_resolution_pb2.UpscaleResponse = answer
        return response

    def _enlarged(self, images: Tensor) -> tuple[int, ...]:
        """The shape of what becomes of a batch."""
        *first, height, width = images.shape
        return (*first, self._info.scale * height, self._info.scale * width)


def connect_scorer(
    address: str, name: str, *, timeout: float = 120.0, retry_for: float = 0.0
) -> RemoteScorer:
    """Ask the server at ``address`` for a scorer.

    Raises:
        ServiceUnavailable: nobody answers there.
        UnknownName: it has no such scorer.
    """
    connection = Connection(address, timeout=timeout, retry_for=retry_for)
    stub = scoring_pb2_grpc.ScoringServiceStub(connection.channel())
    request = scoring_pb2.ListScorersRequest(scorers=[name])
    answer = connection.call(stub.ListScorers, request)
    connection.tensors.offered(answer.shared_tensors)
    connection.max_message_bytes = answer.max_message_bytes
    return RemoteScorer(connection, name, codec.scorer_info_from_proto(answer.scorers[0]))


def connect_upscaler(
    address: str, name: str, *, timeout: float = 300.0, retry_for: float = 0.0
) -> RemoteUpscaler:
    """Ask the server at ``address`` for a model; raises as `connect_scorer`."""
    connection = Connection(address, timeout=timeout, retry_for=retry_for)
    stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    request = super_resolution_pb2.ListModelsRequest(models=[name])
    answer = connection.call(stub.ListModels, request)
    connection.tensors.offered(answer.shared_tensors)
    return RemoteUpscaler(connection, name, codec.upscaler_info_from_proto(answer.models[0]))


def list_scorers(address: str, *, timeout: float = 10.0) -> list[ScorerInfo]:
    """What the ``ScoringService`` at ``address`` offers, with default options.

    Raises:
        ServiceUnavailable: nobody answers there.
        DeadlineExceeded: no answer in time.
        NotSupported: the server has no such service.
    """
    with closing(Connection(address, timeout=timeout, retry_for=0.0)) as connection:
        stub = scoring_pb2_grpc.ScoringServiceStub(connection.channel())
        answer = connection.call(stub.ListScorers, scoring_pb2.ListScorersRequest())
    return [codec.scorer_info_from_proto(info) for info in answer.scorers]


def list_upscalers(address: str, *, timeout: float = 10.0) -> list[UpscalerInfo]:
    """What the ``SuperResolutionService`` at ``address`` offers; raises as `list_scorers`."""
    with closing(Connection(address, timeout=timeout, retry_for=0.0)) as connection:
        stub = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
        answer = connection.call(stub.ListModels, super_resolution_pb2.ListModelsRequest())
    return [codec.upscaler_info_from_proto(info) for info in answer.models]


class _ScoreGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, references: Tensor | None, scorer: RemoteScorer
    ) -> Tensor:
        scores, gradients = scorer.gradient(images, references)
        ctx.save_for_backward(gradients)
        return scores

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return carried_back(outputs[0], gradients), None, None
