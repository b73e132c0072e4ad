"""How long work takes here, from what was measured."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

Kind = TypeVar("Kind", bound=Hashable)

# Kinds of work that are remembered: clients choose options, and so how many there are.
_KINDS = 1000

# What a measurement counts for in a mean that follows the load.
_WEIGHT = 0.1

# Each refusal lowers the bound that it was based on, so that one of the next is tried.
_DOUBT = 0.9


class LeastTimes(Generic[Kind]):
    """What work takes at the very least: the fastest pixel of its kind so far, times its pixels."""

    def __init__(self) -> None:
        self._least: OrderedDict[Kind, float] = OrderedDict()

    @property
    def kinds(self) -> Collection[Kind]:
        """Those that were measured, but for the oldest where they are too many."""
        return self._least.keys()

    def measured(self, kind: Kind, pixels: int, seconds: float) -> None:
        pace = seconds / max(pixels, 1)
        self._least[kind] = min(pace, self._least.get(kind, pace))
        self._least.move_to_end(kind)
        if len(self._least) > _KINDS:
            self._least.popitem(last=False)

    def allow(self, kind: Kind, pixels: int, seconds: float) -> bool:
        """Whether work of this kind can be done in that time; unknown kinds can."""
        least = self._least.get(kind)
        if least is None or least * pixels <= seconds:
            return True
        self._least[kind] = least * _DOUBT
        return False


class TimeInside:
    """How long calls stay in a server, from admission to answer, as a mean that follows the load.

    By Little's law half of the calls that are in it now are done in about half of that time, so
    that is when a client that found it full had best come back: earlier there is no room, later the
    device may stand idle.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mean: float | None = None

    def measured(self, seconds: float) -> None:
        with self._lock:
            before = seconds if self._mean is None else self._mean
            self._mean = before + _WEIGHT * (seconds - before)

    @property
    def retry_after(self) -> float:
        """Seconds after which there should be room, between 0.01 and 60; 1 if none was measured.

        To two digits: nobody can say better, and refusals that are alike are made once.
        """
        mean = self._mean
        return 1.0 if mean is None else float(f"{min(max(mean / 2, 0.01), 60.0):.2g}")
