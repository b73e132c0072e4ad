"""Letting long work stop when nobody waits for it any more.

A server opens a `scope` around a request; loops that take long (tiles, batches) call `check`
between two pieces of work. Outside of a scope `check` does nothing, so the same loop serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ranksrgan.contracts.errors import RequestCancelled

_wanted: ContextVar[Callable[[], bool] | None] = ContextVar("wanted", default=None)


@contextmanager
def scope(wanted: Callable[[], bool]) -> Iterator[None]:
    """Until the block ends, `check` asks ``wanted`` whether the result is still wanted.

    Within another scope the result has to be wanted by both.
    """
    outer = _wanted.get()
    token = _wanted.set(wanted if outer is None else lambda: outer() and wanted())
    try:
        yield
    finally:
        _wanted.reset(token)


def check() -> None:
    """Raise `RequestCancelled` if the result of the work at hand is no longer wanted."""
    wanted = _wanted.get()
    if wanted is not None and not wanted():
        raise RequestCancelled("the client has gone or its deadline has passed")
