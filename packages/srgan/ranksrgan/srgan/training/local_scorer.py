"""Opening scorers where a training computes."""

from __future__ import annotations

from pathlib import Path

import torch

from ranksrgan.contracts import Scorer, open_scorer
from ranksrgan.contracts.discovery import is_remote, is_sum
from ranksrgan.contracts.errors import InvalidInput


def open_on(
    spec: str, device: torch.device | None, *, timeout: float = 120.0, retry_for: float = 0.0
) -> Scorer:
    """`open_scorer`, on a device, if one is given, unless the spec names another.

    A service computes where it is, and each term of a sum says for itself where it does. A metric
    without such an option computes where its images lie.
    """
    place, _, options = spec.partition("?")
    says = any(one.startswith("device=") for one in options.split("&"))
    sums = is_sum(spec) and not Path(place).is_file()
    if device is not None and not (says or sums or is_remote(spec)):
        try:
            there = f"{place}?{options}{'&' if options else ''}device={device}"
            return open_scorer(there, timeout=timeout, retry_for=retry_for)
        except InvalidInput as error:
            if error.field != "device":
                raise
    return open_scorer(spec, timeout=timeout, retry_for=retry_for)
