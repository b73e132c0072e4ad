"""Who may be in a server: so many calls with one answer, and no more of those that send nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Seconds in which a request usually comes. So long its call has a ticket that waits for it; later
# others get that, and the request another one when it is there.
SOON = 1.0


class Ticket:
    """Of one call, from its beginning to its end; see `Tickets`.

    Args:
        since: when it began.
        end: ends the call, and waits for nothing.
    """

    def __init__(self, since: float, end: Callable[[], None]) -> None:
        self.since = since
        self.end = end


class Tickets:
    """So many calls with one answer may be in a server.

    Whether there is room is decided when a call begins, so that what is refused need not be read.
    A call whose request is long on its way does not take the room of others meanwhile. As many
    calls may be slow as there are tickets; one more ends when others begin.

    Args:
        number: of all tickets.
        clock: seconds that never go back.
    """

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self._clock = clock
        self._lock = threading.Lock()
        self._coming: dict[Ticket, None] = {}  # the oldest first
        self._slow: set[Ticket] = set()
        self._working: set[Ticket] = set()

    @property
    def left(self) -> int:
        """Calls that may begin now."""
        with self._lock:
            return self._left()

    def take(self, end: Callable[[], None]) -> Ticket | None:
        """For a call that begins, and is ended so if its request is slow; None if there is no
        room."""
        with self._lock:
            if self._left() <= 0:
                return None
            ticket = Ticket(self._clock(), end)
            self._coming[ticket] = None
            return ticket

    def arrived(self, ticket: Ticket) -> bool:
        """The request of a call is there; whether there is room for it, as there is if it came
        soon."""
        with self._lock:
            if ticket in self._coming:
                del self._coming[ticket]
            elif ticket in self._slow:
                self._slow.remove(ticket)  # first: others may become slow now
                if self._left() <= 0:
                    return False
            else:
                return False
            self._working.add(ticket)
            return True

    def give(self, ticket: Ticket) -> None:
        """The call has ended, whatever it has come to."""
        with self._lock:
            self._coming.pop(ticket, None)
            self._slow.discard(ticket)
            self._working.discard(ticket)

    def _left(self) -> int:
        oldest = self._clock() - SOON
        while self._coming:
            ticket = next(iter(self._coming))
            if ticket.since > oldest:
                break
            del self._coming[ticket]
            if len(self._slow) < self.number:
                self._slow.add(ticket)
            else:
                ticket.end()
        return self._room()

    def _room(self) -> int:
        return self.number - len(self._working) - len(self._coming)
