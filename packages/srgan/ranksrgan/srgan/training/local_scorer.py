"""Opening scorers where a training computes."""

from __future__ import annotations

import torch

from ranksrgan.contracts import Scorer, open_scorer
from ranksrgan.contracts.discovery import names_sum
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.specs import is_remote


def with_option(spec: str, name: str, value: object) -> str:
    """A scorer's name with an option more."""
    return f"{spec}{'&' if '?' in spec else '?'}{name}={value}"


def says(spec: str, name: str) -> bool:
    """Whether a scorer's name has that option."""
    return any(one.startswith(f"{name}=") for one in spec.partition("?")[2].split("&"))


def open_on(
    spec: str, device: torch.device | None, *, timeout: float = 120.0, retry_for: float = 0.0
) -> Scorer:
    """`open_scorer`, pinned, on a device, if one is given, unless the spec names another.

    A service computes where it is, and each term of a sum says for itself where it does. A metric
    without such an option computes where its images lie.
    """
    if device is not None and not (says(spec, "device") or names_sum(spec) or is_remote(spec)):
        try:
            there = with_option(spec, "device", device)
            return open_scorer(there, timeout=timeout, retry_for=retry_for, pinned=True)
        except InvalidInput as error:
            if error.field != "device":
                raise
    return open_scorer(spec, timeout=timeout, retry_for=retry_for, pinned=True)
