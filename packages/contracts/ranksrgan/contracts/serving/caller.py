"""Who has made the call that a thread works for, as far as the server knows its clients."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """A client that has proven who it is, or anybody.

    Attributes:
        name: of its token or certificate, empty where that has none; None where the server asks
            nobody who they are.
        administrator: it is one of the server's.
        still_known: raises Unauthenticated once the token that it came with is not known any more;
            None where it needed none.
    """

    name: str | None = None
    administrator: bool = False
    still_known: Callable[[], None] | None = None

    def may_end(self, owner: str) -> bool:
        """Whether it may end what ``owner`` has begun, of whom nothing is known if empty."""
        return not owner or self.name in (None, owner) or self.administrator


_ANYBODY = Caller()

#: Of the call that this thread works for; anybody outside of calls.
CALLER: ContextVar[Caller] = ContextVar("caller", default=_ANYBODY)
