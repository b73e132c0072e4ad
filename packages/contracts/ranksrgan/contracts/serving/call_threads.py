"""In which thread a behaviour is called, where that is not one of the server's pool.

gRPC looks for an attribute ``experimental_thread_pool`` of what it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc


class InPool:
    """A behaviour that gRPC calls in a thread of that pool.

    Args:
        behaviour: what is called.
        experimental_thread_pool: gRPC reads this attribute, and the other one.
        tells: whether it returns at once, and what it answers goes through a third argument.
    """

    def __init__(
        self,
        behaviour: Callable[..., Any],
        experimental_thread_pool: ThreadPoolExecutor,
        *,
        tells: bool = False,
    ) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = experimental_thread_pool
        self.experimental_non_blocking = tells

    def __call__(self, requests: Iterator[Any], context: grpc.ServicerContext, *send: Any) -> Any:
        return self._behaviour(requests, context, *send)


class _AtOnce(ThreadPoolExecutor):
    """Whatever is submitted is done by the thread that does so. Has no threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


#: For what takes a fraction of a millisecond and waits for nothing but the log: it is done by the
#: one thread of gRPC that hands calls to others, which costs half of what the way to another thread
#: does.
AT_ONCE = _AtOnce(1)


def same_threads(surrounded: Callable[..., Any], behaviour: object) -> Callable[..., Any]:
    """``surrounded``, called in the thread that ``behaviour`` would be called in."""
    pool = getattr(behaviour, "experimental_thread_pool", None)
    return surrounded if pool is None else InPool(surrounded, pool)
