"""Interceptors that surround handlers, each handler once and not anew for every call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import grpc

from ranksrgan.contracts.serving.methods import HANDLERS

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


class Surrounding(grpc.ServerInterceptor, ABC):
    """Puts something around the handlers that it concerns, and keeps what comes of it."""

    def __init__(self) -> None:
        self._kept = lru_cache(HANDLERS)(self._around)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        if handler is None or not self._concerns(handler, handler_call_details):
            return handler
        return self._kept(handler)

    @abstractmethod
    def _concerns(self, handler: Handler, details: grpc.HandlerCallDetails) -> bool:
        """Whether such calls are surrounded."""

    @abstractmethod
    def _around(self, handler: Handler) -> Handler:
        """A handler that calls this one, with what is to be around it."""
