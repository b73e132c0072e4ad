"""How commands that score images tell what failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ranksrgan.metrics.report import Failure


def tell(failures: Sequence[Failure], untried: int = 0) -> None:
    """Write what failed on standard error, a line each.

    Args:
        failures: in their order.
        untried: how many of them, the last, were not tried; they share one line.
    """
    for one in failures[: len(failures) - untried]:
        print(f"failed: {one['message']}", file=sys.stderr)
    if untried:
        print(f"failed: {untried} images after that, which were not tried", file=sys.stderr)
