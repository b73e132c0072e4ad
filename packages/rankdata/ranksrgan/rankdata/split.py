"""Which split a source image belongs to: all of its crops go there, so nothing leaks.

The rule. Near-duplicates form a group and stay together; any other source is a group of its own.
Every group gets the number sha256(seed, name) in [0, 1) of its alphabetically first name, and
groups are sorted by it. The first are for validation, the last for testing and those between for
training. How many sources each split gets is its share of them all, rounded by largest remainder,
and at least one; the group that reaches over a boundary is on the side where most of it lies. A
group with more sources than the whole share of validation (or of testing) is left to the others.

So a split depends on names, groups and seed alone, never on the order of files, and large groups
are no likelier to be for validation than small ones. An image that is added, and nobody's
duplicate, moves at most one group across each of the two boundaries, unless a group was too large
for a share until then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata import chance
from ranksrgan.rankdata.config import SPLITS, Split

_log = logging.getLogger(__name__)

# The order in which they are filled: the last one gets what is left.
_FILLED: tuple[Split, ...] = ("val", "test", "train")


def split_sources(
    sources: Iterable[str],
    fractions: Mapping[Split, float],
    seed: int,
    groups: Sequence[Sequence[str]] = (),
) -> dict[str, Split]:
    """Assign every source to a split.

    Groups may be so large that no split comes near its share; then the log has a warning.

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

    # Not the smallest number in a group: of many numbers the smallest is nearly always among the
    # first, and every large group would be for validation.
    first_of = {name: min(group) for group in groups for name in group}
    members: dict[str, list[str]] = {}
    for name in sources:
        members.setdefault(first_of.get(name, name), []).append(name)
    _check_enough(len(members), fractions)
    sizes = split_sizes(sum(map(len, members.values())), fractions)
    rest = [members[first] for first in sorted(members, key=order)]
    split: dict[str, Split] = {}
    to_fill = [where for where in _FILLED if sizes[where]]
    for place, where in enumerate(to_fill, start=1):
        later = len(to_fill) - place
        if where == "test":
            rest.reverse()
        taken = _take(rest, sizes[where], len(rest) - later) if later else rest
        split |= {name: where for group in taken for name in group}
        rest = [group for group in rest if group[0] not in split]
    _warn_of_other_shares(Counter(split.values()), sizes)
    return split


def _take(groups: Sequence[Sequence[str]], share: int, most: int) -> list[Sequence[str]]:
    """The first groups, ``most`` of them and at least one, with about ``share`` sources."""
    fitting = [group for group in groups if len(group) <= share] or [min(groups, key=len)]
    taken = fitting[:1]
    filled = len(taken[0])
    for group in fitting[1:most]:
        if filled + len(group) / 2 > share:
            break
        taken.append(group)
        filled += len(group)
    return taken


def _warn_of_other_shares(found: Mapping[Split, int], wanted: Mapping[Split, int]) -> None:
    for split in SPLITS:
        if abs(found.get(split, 0) - wanted[split]) > wanted[split] / 2:
            _log.warning(
                "split %s has %d of the %d sources, where its share is %d: sources that belong "
                "together, such as near-duplicates, leave no other choice",
                *(split, found.get(split, 0), sum(wanted.values()), wanted[split]),
            )


def _check_enough(groups: int, fractions: Mapping[Split, float]) -> None:
    wanted = [split for split in SPLITS if fractions[split] > 0]
    if groups < len(wanted):
        raise InvalidDataset(
            f"{groups} usable source image(s), near-duplicates counted once, cannot fill "
            f"{len(wanted)} splits "
            f"({', '.join(wanted)}); give more images or set the share of a split to 0",
            field="hr",
        )


def split_sizes(total: int, fractions: Mapping[Split, float]) -> dict[Split, int]:
    """How many of ``total`` sources each split gets.

    Raises:
        InvalidDataset: fewer sources than splits with a share above 0.
    """
    _check_enough(total, fractions)
    wanted = [split for split in SPLITS if fractions[split] > 0]
    sizes = {split: max(1, int(fractions[split] * total)) for split in wanted}

    def excess(split: Split) -> float:
        return sizes[split] - fractions[split] * total

    while sum(sizes.values()) < total:
        sizes[min(wanted, key=excess)] += 1
    while sum(sizes.values()) > total:
        sizes[max((split for split in wanted if sizes[split] > 1), key=excess)] -= 1
    return {split: sizes.get(split, 0) for split in SPLITS}
