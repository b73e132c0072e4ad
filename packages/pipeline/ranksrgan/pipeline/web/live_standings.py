"""The standings of a study for everybody who looks at them, computed once for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ranksrgan.pipeline.web.study_results import Standing, standings
from ranksrgan.pipeline.web.vote_book import Tally, VoteBook


class LiveStandings:
    """The standings of one study, kept until its votes change.

    Computing them of some ten thousand votes takes a second, and every open page asks each few
    seconds.

    Args:
        study: its name.
        book: has the votes.
    """

    def __init__(self, study: str, book: VoteBook) -> None:
        self._study, self._book = study, book
        self._lock = threading.Lock()
        self._known: tuple[Tally, Sequence[Standing]] | None = None

    def now(self) -> tuple[Tally, Sequence[Standing]]:
        """The votes in numbers, and what they say.

        While one thread computes, the others get what was known before instead of waiting: these
        threads are wanted for votes.

        Raises:
            Overloaded, InvalidDataset: the votes could not be read.
        """
        before = self._known
        if before is None:
            self._lock.acquire()
        elif not self._lock.acquire(blocking=False):
            return before
        try:
            # The numbers come first: a vote meanwhile then is found the next time.
            tally = self._book.tally(self._study)
            if self._known is None or self._known[0] != tally:
                self._known = tally, standings(self._book.ballots(self._study))
            return self._known
        finally:
            self._lock.release()
