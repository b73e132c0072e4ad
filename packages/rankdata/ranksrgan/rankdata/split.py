"""Which split a source image belongs to: all of its crops go there, so nothing leaks.

The rule. Every source gets the number sha256(seed, name) in [0, 1). Sorted by it, the first
sources are for validation, the last for testing and those between for training. The sizes are the
wanted shares, rounded by largest remainder, and at least one source for each split that is wanted.

So a split depends on names and seed alone, never on the order of files; and an image that is added
moves at most one other across each of the two boundaries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata.config import SPLITS, Split


def split_sources(
    sources: Iterable[str], fractions: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Assign every source to a split.

    Args:
        sources: names, each once.
        fractions: share of each split; they add up to 1.
        seed: another seed, another split.

    Raises:
        InvalidDataset: fewer sources than splits with a share above 0.
    """
    ordered = sorted(sources, key=lambda name: (_position(name, seed), name))
    sizes = split_sizes(len(ordered), fractions)
    last_train = len(ordered) - sizes["test"]
    return {
        name: "val" if index < sizes["val"] else "train" if index < last_train else "test"
        for index, name in enumerate(ordered)
    }


def split_sizes(total: int, fractions: Mapping[Split, float]) -> dict[Split, int]:
    """How many of ``total`` sources each split gets.

    Raises:
        InvalidDataset: fewer sources than splits with a share above 0.
    """
    wanted = [split for split in SPLITS if fractions[split] > 0]
    if total < len(wanted):
        raise InvalidDataset(
            f"{total} usable source image(s) cannot fill {len(wanted)} splits "
            f"({', '.join(wanted)}); give more images or set the share of a split to 0",
            field="hr",
        )
    sizes = {split: max(1, int(fractions[split] * total)) for split in wanted}

    def excess(split: Split) -> float:
        return sizes[split] - fractions[split] * total

    while sum(sizes.values()) < total:
        sizes[min(wanted, key=excess)] += 1
    while sum(sizes.values()) > total:
        sizes[max((split for split in wanted if sizes[split] > 1), key=excess)] -= 1
    return {split: sizes.get(split, 0) for split in SPLITS}


def _position(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big")
