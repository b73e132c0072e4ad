"""Answers on their way: what was made for clients, and they have not taken yet.

The thread of a call with one answer ends when gRPC has that, and gRPC keeps it until the client has
taken it, however many there are and however long it takes. So they are counted here, end in time,
and are no more than the server has memory for.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc

from ranksrgan.contracts.serving.call_threads import same_threads
from ranksrgan.contracts.serving.calls import CURRENT
from ranksrgan.contracts.serving.limits import ServerLimits
from ranksrgan.contracts.serving.surrounding import Surrounding
from ranksrgan.contracts.serving.waits import Crowd, Waits

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

# Seconds in which an answer is usually taken. So long the next call of a client that waits for each
# answer may well be here before gRPC has told that the one before was taken.
_SOON = 1.0
# Bytes for which an answer has so long again as any has: 140 kB a second, by default.
_PACE = 8 * 2**20
# Requests of the largest size that all answers on their way may be together.
_MESSAGES = 8
# Bytes that a call with an answer on its way takes beside it.
_CALL = 2**14
# The part of the time that an answer may take which it has whoever else brings some.
_LEAST = 1 / 30

# The call that this thread has an answer to, until that is written.
_answered: ContextVar[grpc.ServicerContext | None] = ContextVar("answered", default=None)


class Answers(Surrounding):
    """Around every call with one answer, of whichever service; what streams send is looked after
    where it is made.

    Args:
        limits: an answer may take ``arrival`` seconds as a request may, and so long again for each
            8 MiB that it has. All of them may have as many bytes as eight of the largest requests:
            where they have more, the oldest end.
        waits: of the server.
    """

    def __init__(self, limits: ServerLimits, waits: Waits) -> None:
        super().__init__()
        self._arrival = limits.arrival
        self._waits = waits
        pushed = "too many answers are not read; ask again, and read the answer"
        self._on_their_way = Crowd(_MESSAGES * limits.max_message_bytes, pushed)

    def left_lying(self, client: str) -> int:
        """How many answers a client has not taken that others take within a moment."""
        return self._waits.number_of(self._on_their_way, client, _SOON)

    def _concerns(self, handler: Handler, details: grpc.HandlerCallDetails) -> bool:
        return not handler.response_streaming and handler.response_serializer is not None

    def _around(self, handler: Handler) -> Handler:
        behaviour: Any = handler.unary_unary or handler.stream_unary
        write: Any = handler.response_serializer
        make = (
            grpc.unary_unary_rpc_method_handler
            if handler.unary_unary is not None
            else grpc.stream_unary_rpc_method_handler
        )

        def answer(asked: Any, context: grpc.ServicerContext) -> Any:
            response = behaviour(asked, context)
            _answered.set(context)
            return response

        def written(response: Any) -> bytes:
            """gRPC calls it in the same thread, and sends what it returns."""
            message: bytes = write(response)
            context = _answered.get()
            _answered.set(None)  # it holds this context, which would hold it
            if context is not None:
                self._sent(context, len(message))
            return message

        return make(same_threads(answer, behaviour), handler.request_deserializer, written)

    def _sent(self, context: grpc.ServicerContext, size: int) -> None:
        call = CURRENT.get()
        within = self._arrival * (1 + size / _PACE)
        client = "" if call is None else call.client
        self._waits.taken(
            context, within, self._on_their_way, size + _CALL, within * _LEAST, client
        )
