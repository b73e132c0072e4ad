"""Measuring alternatives in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def medians(work: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each piece of work, measured one after the other ``rounds`` times."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for name in work:
        work[name]()  # warm up
    for _ in range(rounds):
        for name, call in work.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}
