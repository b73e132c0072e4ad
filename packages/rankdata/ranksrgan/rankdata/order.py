"""The order within a pair, and the order in which an epoch goes through what there is."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import torch

from ranksrgan.contracts.errors import InvalidInput


def shuffled(count: int, seed: int, start: int, step: int) -> Iterator[tuple[int, bool]]:
    """Endless (index, swap): a permutation of ``range(count)`` and a coin each epoch."""
    epoch = -1
    for position in itertools.count(start, step):
        wanted, place = divmod(position, count)
        if wanted != epoch:
            epoch = wanted
            generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
            indices = torch.randperm(count, generator=generator)
            swaps = torch.randint(2, (count,), generator=generator)
        yield int(indices[place]), bool(swaps[place])


def check_place(start: int, step: int) -> None:
    """Refuse a place in a stream that there is not.

    Raises:
        InvalidInput: ``start`` is negative, or ``step`` below 1.
    """
    if start < 0:
        raise InvalidInput(f"start={start}: 0 or more is wanted", field="start")
    if step < 1:
        raise InvalidInput(f"step={step}: 1 or more is wanted", field="step")


def order(a: float, b: float, min_gap: float = 0.0) -> float:
    """+1 if ``a`` is larger than ``b`` by more than ``min_gap``, -1 the other way, 0 for a tie."""
    if a == b or abs(a - b) <= min_gap:
        return 0.0
    return 1.0 if a > b else -1.0


def _epoch_seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7], "big")
