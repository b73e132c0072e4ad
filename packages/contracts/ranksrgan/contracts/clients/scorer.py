"""A scorer that lives in another process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts.clients.asking import Asked, Asking, carried_back
from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.clients.score_stream import AROUND, Outgoing, ScoreStream, outgoing
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidInput,
    NotSupported,
    RankSRGANError,
)
from ranksrgan.contracts.recording import recording
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.v1 import (
    features_pb2,
    features_pb2_grpc,
    scoring_pb2,
    scoring_pb2_grpc,
)
from ranksrgan.contracts.wire import codec
from ranksrgan.contracts.wire.tensor_transport import Parcel


class RemoteScorer:
    """A scorer behind a ``ScoringService``: same values to the bit, same errors by class.

    Where the scorer is differentiable, results carry gradients to images that require them: the
    server's d(score)/d(image) becomes the backward pass. Those of another scorer carry none.

    Where it is pinned it stays the one that `info` tells of, see `OpenedModel`; else it is whatever
    its name stands for when it is asked.
    """

    def __init__(self, connection: Connection, model: OpenedModel, info: ScorerInfo) -> None:
        self._connection = connection
        self._model = model
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

        A single image that no message of the server's holds goes in chunks. A call has 4096 images
        at most (LimitExceeded).
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
                scorer=self._model.name,
                images=parcel.images(images, "images"),
                references=parcel.images(references, "references"),
                parameters_hash=self._model.parameters_hash,
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
            raise NotSupported(f"{self._info.name} has no gradient", field="scorer")
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
            raise NotSupported(f"{self._info.name} has no gradient", field="scorer")

        def work(parcel: Parcel) -> tuple[Tensor, Tensor]:
            request = scoring_pb2.ScoreGradientRequest(
                scorer=self._model.name,
                images=parcel.images(images, "images"),
                references=parcel.images(references, "references"),
                parameters_hash=self._model.parameters_hash,
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
                scorer=self._model.name,
                images=parcel.images(images, "images"),
                parameters_hash=self._model.parameters_hash,
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
        stream, most = ScoreStream(self._connection), self._connection.max_message_bytes
        # An image on its way, or the reason why it could not even be sent.
        waiting: deque[Outgoing | RankSRGANError] = deque()

        def result() -> float | RankSRGANError:
            head = waiting.popleft()
            return head if isinstance(head, RankSRGANError) else stream.receive()

        try:
            for position, image in enumerate(images):
                try:
                    sent = outgoing(self._model, position, image, most)
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


def connect_scorer(
    address: str,
    name: str,
    *,
    timeout: float = 120.0,
    retry_for: float = 0.0,
    pinned: bool = False,
) -> RemoteScorer:
    """Ask the server at ``address`` for a scorer; see `ranksrgan.contracts.open_scorer`.

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
    info = codec.scorer_info_from_proto(answer.scorers[0])
    return RemoteScorer(connection, OpenedModel.of(name, info, pinned=pinned), info)


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
