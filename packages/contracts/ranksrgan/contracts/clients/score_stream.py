"""Requests and their outcomes, in order, through one ``ScoreStream`` call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from ranksrgan.contracts.clients.connection import Connection, read_in_time
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import DeadlineExceeded, InternalError, RankSRGANError
from ranksrgan.contracts.v1 import image_pb2, scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec, error_codec
from ranksrgan.contracts.wire.announced_image import AnnouncedImage

#: What a request has besides its tensors, in bytes: more than names and shapes take.
AROUND = 2**12

_CHUNK = 2**20 - AROUND

Request = scoring_pb2.ScoreStreamRequest
Response = scoring_pb2.ScoreStreamResponse


@dataclass(frozen=True)
class Outgoing:
    """One image, and its reference if there is one, as they go.

    Attributes:
        request: with them, or with what announces them.
        announced: their bytes in the latter case.
        chunk: bytes of these in a request.
    """

    request: Request
    announced: tuple[bytes, ...] = ()
    chunk: int = _CHUNK

    def requests(self) -> Iterator[Request]:
        """The request and its chunks."""
        yield self.request
        for data in self.announced:
            for at in range(0, len(data), self.chunk):
                yield Request(chunk=data[at : at + self.chunk])


def outgoing(
    scorer: OpenedModel, position: int, image: Tensor | tuple[Tensor, Tensor], max_message: int
) -> Outgoing:
    """An image on its way, in chunks if one message does not hold it.

    Args:
        scorer: that it is for.
        position: of the image in the stream.
        image: or a pair of it and its reference, ``(3|1, H, W)``.
        max_message: bytes that the server takes in one; 0 if it takes no chunks.

    Raises:
        InvalidInput: of a type that does not travel.
    """
    picture, reference = image if isinstance(image, tuple) else (image, None)
    request = Request(
        id=str(position),
        scorer=scorer.name,
        parameters_hash=scorer.parameters_hash,
        image=codec.image_to_proto(picture),
        reference=None if reference is None else codec.image_to_proto(reference),
    )
    tensors = [picture] if reference is None else [picture, reference]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if not max_message or size + AROUND <= max_message:
        return Outgoing(request)
    bodies = [request.image.tensor.data]
    request.image_ahead.CopyFrom(_ahead(picture, bodies[0]))
    request.ClearField("image")
    if reference is not None:
        bodies.append(request.reference.tensor.data)
        request.reference_ahead.CopyFrom(_ahead(reference, bodies[1]))
        request.ClearField("reference")
    return Outgoing(request, tuple(bodies), max(min(_CHUNK, max_message - AROUND), 1))


def _ahead(image: Tensor, body: bytes) -> image_pb2.ImageAhead:
    return codec.image_ahead_to_proto(AnnouncedImage(len(body), image.dtype, tuple(image.shape)))


class ScoreStream:
    """Where the call breaks off because the server has gone, another one begins with the requests
    that were not answered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unanswered: deque[Outgoing] = deque()
        # What gRPC's own thread sends; None ends it.
        self._queue: SimpleQueue[Outgoing | None] = SimpleQueue()
        self._call: Any = None

    def send(self, image: Outgoing) -> None:
        self._unanswered.append(image)
        if self._call is None:
            self._begin()
        else:
            self._queue.put(image)

    def receive(self) -> float | RankSRGANError:
        """The outcome of the oldest request without one."""
        response = self._connection.attempt(self._next)
        request = self._unanswered.popleft().request
        if response.id != request.id:
            raise InternalError(f"{self._connection.address} sent answers out of order")
        if response.WhichOneof("outcome") == "score":
            return float(response.score)
        return error_codec.item_error_from_proto(response.error)

    def finish(self) -> None:
        """Say that there is no further request, and hear that all is answered."""
        if self._call is None:
            return
        self._queue.put(None)
        try:
            surplus = self._connection.read(self._call, "one image")
        except DeadlineExceeded:
            raise
        except RankSRGANError:
            return  # it went after the last answer, which is nobody's loss
        if surplus is not None:
            raise InternalError(f"{self._connection.address} sent more answers than requests")

    def close(self) -> None:
        """End the call, answered or not."""
        if self._call is not None:
            self._queue.put(None)
            self._call.cancel()
        self._call = None

    def _next(self) -> Response:
        if self._call is None:
            self._begin()
        response = self._read()
        if response is None:
            raise InternalError(
                f"{self._connection.address} ended the stream before all was answered"
            )
        return response

    def _read(self) -> Response | None:
        """The next response; None at the end. After a failure the call is over."""
        try:
            response: Response | None = read_in_time(self._call, self._connection, "one image")
        except Exception:
            self.close()
            raise
        return response

    def _begin(self) -> None:
        queue: SimpleQueue[Outgoing | None] = SimpleQueue()
        self._queue = queue
        for image in self._unanswered:
            queue.put(image)
        stub = scoring_pb2_grpc.ScoringServiceStub(self._connection.channel())
        images = iter(queue.get, None)
        self._call = stub.ScoreStream(one for image in images for one in image.requests())
