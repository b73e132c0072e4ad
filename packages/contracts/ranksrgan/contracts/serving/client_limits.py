"""How much one client may ask for, so that one that asks for all leaves something to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import Field

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import Overloaded

# Clients that are remembered before those that owe nothing are forgotten.
_REMEMBERED = 1024
# Seconds until one of a client's own calls may have ended, as far as nobody knows.
_PAUSE = 1.0


class ClientLimits(Config):
    """What one client may ask for: one token's, one certificate's, or else one host's.

    Attributes:
        at_a_time: calls that may be open, a stream being one; None for any number. One whose answer
            the client has not taken after a second is open until it does.
        per_minute: calls that may begin within a minute; None for any number.
        operations: trainings or builds that may not be done; of clients that the server knows by
            their tokens or certificates.
    """

    at_a_time: int | None = Field(default=None, ge=1)
    per_minute: int | None = Field(default=None, ge=1)
    operations: int = Field(default=50, ge=1)


@dataclass
class _Client:
    open: int
    allowance: float  # calls that may begin now
    at: float  # when that was so


class ClientLimiter:
    """Counts each client's calls.

    A client may begin ``per_minute`` calls at once, and after that one every
    ``60 / per_minute`` seconds: a bucket that fills again.

    Args:
        limits: of each client.
        left_lying: how many answers a client does not take, see `Answers`.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limits: ClientLimits,
        left_lying: Callable[[str], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._left_lying = left_lying
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}

    @contextmanager
    def admitted(self, client: str) -> Iterator[None]:
        """The time of one call.

        Raises:
            Overloaded: the client has its share; says when to try again.
        """
        if self._limits.at_a_time is None and self._limits.per_minute is None:
            yield
            return
        with self._lock:
            self._begin(client)
        try:
            yield
        finally:
            with self._lock:
                self._clients[client].open -= 1

    def _begin(self, client: str) -> None:
        most, rate = self._limits.at_a_time, self._limits.per_minute
        now = self._clock()
        if len(self._clients) >= _REMEMBERED:
            self._forget(now)
        known = self._clients.setdefault(client, _Client(0, float(rate or 0), now))
        if most is not None and known.open + (unread := self._left_lying(client)) >= most:
            read = f", {unread} of them with answers that it does not read" if unread else ""
            raise Overloaded(
                f"{client} has {known.open + unread} calls open{read}, and {most} at a time is "
                "what one client may have; try again when one has ended",
                retry_after=_PAUSE,
            )
        if rate is not None:
            known.allowance = min(float(rate), known.allowance + (now - known.at) * rate / 60)
            known.at = now
            if known.allowance < 1:
                wait = (1 - known.allowance) * 60 / rate
                raise Overloaded(
                    f"{client} has begun {rate} calls within a minute, which is what one client "
                    f"may; try again in {wait:.1f} s",
                    retry_after=wait,
                )
            known.allowance -= 1
        known.open += 1

    def _forget(self, now: float) -> None:
        """Of clients without an open call and with their whole allowance nothing is lost."""
        rate = self._limits.per_minute or 0
        self._clients = {
            name: known
            for name, known in self._clients.items()
            if known.open or known.allowance + (now - known.at) * rate / 60 < rate
        }
