"""Which split a source image belongs to: all of its crops go there, so nothing leaks.

The rule. Every source gets the number sha256(seed, name) in [0, 1). Near-duplicates form a group
and stay together; any other source is a group of its own. Groups are sorted by the smallest number
in them. The first groups are for validation, the last for testing and those between for training.
How many are the wanted shares of all groups, rounded by largest remainder, and at least one group
for each split that is wanted.

So a split depends on names, groups and seed alone, never on the order of files; and an image that
is added, and nobody's duplicate, moves at most one group across each of the two boundaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata import chance
from ranksrgan.rankdata.config import SPLITS, Split


def split_sources(
    sources: Iterable[str],
    fractions: Mapping[Split, float],
    seed: int,
    groups: Sequence[Sequence[str]] = (),
) -> dict[str, Split]:
    """Assign every source to a split.

    Args:
        sources: names, each once.
        fractions: share of each split; they add up to 1.
        seed: another seed, another split.
        groups: sources that have to stay together, none in two groups.

    Raises:
        InvalidDataset: fewer groups than splits with a share above 0.
    """

    def order(name: str) -> tuple[int, str]:
        return chance.number(seed, name), name

    first_of = {name: min(group, key=order) for group in groups for name in group}
    members: dict[str, list[str]] = {}
    for name in sources:
        members.setdefault(first_of.get(name, name), []).append(name)
    sizes = split_sizes(len(members), fractions)
    last_train = len(members) - sizes["test"]
    return {
        name: "val" if index < sizes["val"] else "train" if index < last_train else "test"
        for index, first in enumerate(sorted(members, key=order))
        for name in members[first]
    }


def split_sizes(total: int, fractions: Mapping[Split, float]) -> dict[Split, int]:
    """How many of ``total`` groups each split gets.

    Raises:
        InvalidDataset: fewer groups than splits with a share above 0.
    """
    wanted = [split for split in SPLITS if fractions[split] > 0]
    if total < len(wanted):
        raise InvalidDataset(
            f"{total} usable source image(s), near-duplicates counted once, cannot fill "
            f"{len(wanted)} splits "
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
