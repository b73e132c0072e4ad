"""Scorers and upscalers that live in another process."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc
import torch
from torch import Tensor

from ranksrgan.contracts import codec
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    NotSupported,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    SharedMemoryUnavailable,
)
from ranksrgan.contracts.rpc import open_channel
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.tensor_transport import Parcel, Transport
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


class Connection:
    """Calls to one address, with a deadline each and patience while nobody answers.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one attempt may take.
        retry_for: seconds from the first failure during which UNAVAILABLE is tried again. Every
            method of our services may be repeated without harm.
    """

    def __init__(self, address: str, *, timeout: float, retry_for: float) -> None:
        self.address = address
        self.timeout = timeout
        self._retry_for = retry_for
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._process = 0
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
        """Do what may fail with a gRPC error, again while nobody answers and there is patience."""
        give_up: float | None = None
        pause = 0.1
        while True:
            try:
                return work()
            except grpc.RpcError as failure:
                error = codec.error_from_proto(failure, self.address)
                # Nobody here cancels these calls: it is what a server that stops does to them.
                if isinstance(error, RequestCancelled):
                    error = ServiceUnavailable(f"the service at {self.address} ended the call")
                now = time.monotonic()
                give_up = now + self._retry_for if give_up is None else give_up
                if not isinstance(error, ServiceUnavailable) or now + pause > give_up:
                    raise error from failure
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

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
    server's d(score)/d(image) becomes the backward pass.
    """

    def __init__(self, connection: Connection, name: str, info: ScorerInfo) -> None:
        self._connection = connection
        self._name = name  # as the server knows it
        self._info = info

    @property
    def info(self) -> ScorerInfo:
        return self._info

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score`."""
        if images.requires_grad and torch.is_grad_enabled():
            scored: Tensor = _ScoreGradient.apply(images, references, self)  # type: ignore[no-untyped-call]
            return scored

        def work(parcel: Parcel) -> Tensor:
            request = scoring_pb2.ScoreRequest(
                scorer=self._name,
                images=parcel.images(images, "images"),
                references=parcel.images(references, "references"),
            )
            answer = self._stub().Score(request, timeout=self._connection.timeout)
            return self._scores(answer.scores, images)

        return self._connection.exchange([images, references], 0, work)

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

        Scores are those of `score` on one image. What is wrong with an image is yielded in its
        place, and the stream goes on. ``images`` is read as results are taken: no more than
        ``in_flight`` images are on their way or waiting, so an endless iterable is fine.

        Args:
            images: each ``(3|1, H, W)`` as in `Scorer.score`, or a pair of it and its reference.
            in_flight: images sent before the first result is waited for, 1 or more.

        Yields:
            For each image, in order, its score or the error that `score` would raise.

        Raises:
            InvalidInput: ``in_flight`` is less than 1.
            DeadlineExceeded: one result took longer than the timeout.
            LimitExceeded: an image is larger than the server's message limit.
            ServiceUnavailable: the server went, and did not come back in time; a stream that a
                restart interrupts goes on where it was if there is patience for it.
        """
        if in_flight < 1:
            raise InvalidInput(f"in_flight is {in_flight}; 1 or more is wanted", field="in_flight")
        return self._score_many(images, in_flight)

    def _score_many(
        self, images: Iterable[Tensor | tuple[Tensor, Tensor]], in_flight: int
    ) -> Iterator[float | RankSRGANError]:
        stream = _ScoreStream(self._connection)
        # A request on its way, or the reason why an image could not even be sent.
        waiting: deque[scoring_pb2.ScoreStreamRequest | RankSRGANError] = deque()

        def result() -> float | RankSRGANError:
            head = waiting.popleft()
            return head if isinstance(head, RankSRGANError) else stream.receive()

        try:
            for position, image in enumerate(images):
                try:
                    request = _stream_request(self._name, position, image)
                except RankSRGANError as error:
                    waiting.append(error)
                else:
                    waiting.append(request)
                    stream.send(request)
                if len(waiting) == in_flight:
                    yield result()
            while waiting:
                yield result()
            stream.finish()
        finally:
            stream.close()

    def close(self) -> None:
        self._connection.close()

    def _stub(self) -> scoring_pb2_grpc.ScoringServiceStub:
        return scoring_pb2_grpc.ScoringServiceStub(self._connection.channel())

    def _scores(self, scores: Any, images: Tensor) -> Tensor:
        if len(scores) != len(images):
            raise InternalError(
                f"{self._connection.address} sent {len(scores)} scores for {len(images)} images"
            )
        return torch.tensor(list(scores), dtype=torch.float64, device=images.device)


class _ScoreStream:
    """Requests and their outcomes, in order, through one ``ScoreStream`` call.

    Where the call breaks off because the server has gone, another one begins with the requests that
    were not answered.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unanswered: deque[scoring_pb2.ScoreStreamRequest] = deque()
        # What gRPC's own thread sends; None ends it.
        self._outgoing: SimpleQueue[scoring_pb2.ScoreStreamRequest | None] = SimpleQueue()
        self._call: Any = None

    def send(self, request: scoring_pb2.ScoreStreamRequest) -> None:
        self._unanswered.append(request)
        if self._call is None:
            self._begin()
        else:
            self._outgoing.put(request)

    def receive(self) -> float | RankSRGANError:
        """The outcome of the oldest request without one."""
        response = self._connection.attempt(self._next)
        request = self._unanswered.popleft()
        if response.id != request.id:
            raise InternalError(f"{self._connection.address} sent answers out of order")
        if response.WhichOneof("outcome") == "score":
            return float(response.score)
        return codec.item_error_from_proto(response.error)

    def finish(self) -> None:
        """Say that there is no further request, and hear that all is answered."""
        if self._call is None:
            return
        self._outgoing.put(None)
        try:
            surplus = self._read()
        except grpc.RpcError:
            return  # it went after the last answer, which is nobody's loss
        if surplus is not None:
            raise InternalError(f"{self._connection.address} sent more answers than requests")

    def close(self) -> None:
        """End the call, answered or not."""
        if self._call is not None:
            self._outgoing.put(None)
            self._call.cancel()
        self._call = None

    def _next(self) -> scoring_pb2.ScoreStreamResponse:
        if self._call is None:
            self._begin()
        response = self._read()
        if response is None:
            raise InternalError(
                f"{self._connection.address} ended the stream before all was answered"
            )
        return response

    def _read(self) -> scoring_pb2.ScoreStreamResponse | None:
        """The next response; None at the end. After a failure the call is over."""
        try:
            response: scoring_pb2.ScoreStreamResponse | None = read_in_time(
                self._call, self._connection, "one image"
            )
        except (grpc.RpcError, DeadlineExceeded):
            self.close()
            raise
        return response

    def _begin(self) -> None:
        self._outgoing = SimpleQueue()
        for request in self._unanswered:
            self._outgoing.put(request)
        stub = scoring_pb2_grpc.ScoringServiceStub(self._connection.channel())
        self._call = stub.ScoreStream(iter(self._outgoing.get, None))


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
        factors = outputs[0].to(gradients.dtype).reshape(-1, 1, 1, 1)
        return factors * gradients, None, None


def _stream_request(
    scorer: str, position: int, image: Tensor | tuple[Tensor, Tensor]
) -> scoring_pb2.ScoreStreamRequest:
    picture, reference = image if isinstance(image, tuple) else (image, None)
    return scoring_pb2.ScoreStreamRequest(
        id=str(position),
        scorer=scorer,
        image=codec.image_to_proto(picture),
        reference=None if reference is None else codec.image_to_proto(reference),
    )
