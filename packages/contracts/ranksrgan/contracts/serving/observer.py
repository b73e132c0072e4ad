"""What a server tells those who watch it: a metrics exporter, a log, a test.

`rpc.start_server` takes any number of observers, and none by default: nothing is called then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

log = logging.getLogger(__name__)

#: Calls that wait for a device now, those in work not among them, by the full name of a service and
#: a model as clients name it; 0 for what was worked on lately. For any thread, at any time.
Lengths = Callable[[], Mapping[tuple[str, str], int]]


class Observer(Protocol):
    """Is told what happens, by the thread to which it happens and while that thread works.

    Methods may be called by several threads at a time. They return at once (count, and go), wait
    for nobody who might wait for a request, and raise nothing: what one raises is logged and the
    request goes on.
    """

    def queues(self, lengths: Lengths) -> None:
        """A server begins, and may be asked from now on.

        Args:
            lengths: of its queues.
        """
        ...

    def batch(self, model: str, size: int, seconds: float) -> None:
        """A device has done one piece of work, well or not.

        Args:
            model: as clients name it.
            size: images in it, of all calls that were joined.
            seconds: that the device was busy with it.
        """
        ...

    def request(self, method: str, code: str, seconds: float) -> None:
        """A call of one of our services has ended, or of a method that the server does not have;
        of health and reflection nothing is told.

        Args:
            method: ``/ranksrgan.contracts.v1.ScoringService/Score``, or `UNKNOWN_METHOD`.
            code: name of the gRPC status, ``OK`` or ``RESOURCE_EXHAUSTED``.
            seconds: from its admission, all responses of a stream included.
        """
        ...

    def loaded(self, model: str, seconds: float) -> None:
        """A model was loaded, for the first time or again.

        Args:
            model: as clients name it.
            seconds: that it took.
        """
        ...


class Observers:
    """All observers of a server, told one after the other."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def queues(self, lengths: Lengths) -> None:
        self._tell(lambda observer: observer.queues(lengths))

    def batch(self, model: str, size: int, seconds: float) -> None:
        self._tell(lambda observer: observer.batch(model, size, seconds))

    def request(self, method: str, code: str, seconds: float) -> None:
        self._tell(lambda observer: observer.request(method, code, seconds))

    def loaded(self, model: str, seconds: float) -> None:
        self._tell(lambda observer: observer.loaded(model, seconds))

    def _tell(self, fact: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                fact(observer)
            except Exception:
                log.exception("an observer failed")
