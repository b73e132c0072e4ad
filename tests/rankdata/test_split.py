from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata.config import SPLITS, Split
from ranksrgan.rankdata.split import split_sizes, split_sources

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=60, unique=True)
# Of 0001 to 0010 with seed 0: for validation, for testing.
GOLDEN = ["0004", "0003"]
SHARES: dict[Split, float] = {"train": 0.7, "val": 0.2, "test": 0.1}


@given(names=NAMES, seed=st.integers(0, 2**32))
def test_every_source_once_in_near_exact_shares(names: list[str], seed: int) -> None:
    split = split_sources(names, SHARES, seed)
    assert set(split) == set(names)
    for name, share in SHARES.items():
        size = sum(value == name for value in split.values())
        assert size >= 1
        assert abs(size - max(1, share * len(names))) < 2


@given(names=NAMES, seed=st.integers(0, 100), shuffle=st.integers())
def test_order_of_files_does_not_matter(names: list[str], seed: int, shuffle: int) -> None:
    mixed = names[:]
    random.Random(shuffle).shuffle(mixed)
    assert split_sources(names, SHARES, seed) == split_sources(mixed, SHARES, seed)


@given(names=NAMES, seed=st.integers(0, 100), added=st.text(min_size=9, max_size=12))
def test_an_added_image_moves_at_most_one_across_a_boundary(
    names: list[str], seed: int, added: str
) -> None:
    before = split_sources(names, SHARES, seed)
    after = split_sources([*names, added], SHARES, seed)
    moved = [(before[name], after[name]) for name in names if before[name] != after[name]]
    assert sum("val" in pair for pair in moved) <= 1
    assert sum("test" in pair for pair in moved) <= 1
    assert ("val", "test") not in moved
    assert ("test", "val") not in moved


def test_known_split_never_changes() -> None:
    # A golden value: another rule would silently move images between published splits.
    names = [f"{index:04d}" for index in range(1, 11)]
    split = split_sources(names, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=0)
    assert [name for name, where in split.items() if where != "train"] == GOLDEN
    assert [split[name] for name in GOLDEN] == ["val", "test"]


def test_another_seed_is_another_split() -> None:
    names = [str(index) for index in range(50)]
    assert split_sources(names, SHARES, 0) != split_sources(names, SHARES, 1)


@pytest.mark.parametrize(
    ("total", "shares", "sizes"),
    [
        (10, (0.9, 0.1, 0.0), (9, 1, 0)),
        (3450, (0.9, 0.1, 0.0), (3105, 345, 0)),
        (2, (0.9, 0.1, 0.0), (1, 1, 0)),
        (3, (0.9, 0.05, 0.05), (1, 1, 1)),
        (10, (0.0, 0.5, 0.5), (0, 5, 5)),
        (1, (1.0, 0.0, 0.0), (1, 0, 0)),
        (100, (0.71, 0.29, 0.0), (71, 29, 0)),
    ],
)
def test_sizes(total: int, shares: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    found = split_sizes(total, dict(zip(SPLITS, shares, strict=True)))
    assert tuple(found[split] for split in SPLITS) == sizes


def test_too_few_images_for_the_splits() -> None:
    with pytest.raises(InvalidDataset, match=r"2 usable .* cannot fill 3 splits"):
        split_sources(["a", "b"], SHARES, 0)


GROUPS = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(of=GROUPS, seed=st.integers(0, 99), shuffle=st.integers())
def test_near_duplicates_stay_together(of: list[int], seed: int, shuffle: int) -> None:
    names = [f"{index}" for index in range(len(of))]
    members = {group: [n for n, g in zip(names, of, strict=True) if g == group] for group in of}
    groups = [group for group in members.values() if len(group) > 1]
    shares: dict[Split, float] = {"train": 1.0, "val": 0.0, "test": 0.0}
    if len(members) >= 3:
        shares = SHARES
    split = split_sources(names, shares, seed, groups)
    assert set(split) == set(names)
    assert all(len({split[name] for name in group}) == 1 for group in members.values())
    # Shares are of sources, and a group is on the side where most of it lies.
    sizes = split_sizes(len(names), shares)
    largest = max(map(len, members.values()))
    for where in SPLITS:
        found = sum(there == where for there in split.values())
        assert (found > 0) == (shares[where] > 0)
        if largest <= min(sizes["val"], sizes["test"]):
            assert abs(found - sizes[where]) <= largest
    mixed = names[:]
    random.Random(shuffle).shuffle(mixed)
    again = split_sources(mixed, shares, seed, [group[::-1] for group in groups[::-1]])
    assert again == split


@given(of=GROUPS, seed=st.integers(0, 99))
def test_an_added_image_of_nobody_moves_at_most_one_group(of: list[int], seed: int) -> None:
    names = [f"{index}" for index in range(len(of))]
    members = {group: [n for n, g in zip(names, of, strict=True) if g == group] for group in of}
    if len(members) < 3:
        return
    sizes = split_sizes(len(names), SHARES)
    if max(map(len, members.values())) > min(sizes["val"], sizes["test"]):
        return  # too large for a share, which one image more may change
    before = split_sources(names, SHARES, seed, list(members.values()))
    after = split_sources([*names, "new"], SHARES, seed, list(members.values()))
    moved = {g for g, group in members.items() if before[group[0]] != after[group[0]]}
    for where in ("val", "test"):
        crossed = [g for g in moved if where in (before[members[g][0]], after[members[g][0]])]
        assert len(crossed) <= 1


def test_many_frames_of_one_scene_are_trained_with() -> None:
    frames = [f"frame{index}" for index in range(91)]
    others = [f"x{index}" for index in range(9)]
    for seed in range(50):
        shares: dict[Split, float] = {"train": 0.9, "val": 0.1, "test": 0.0}
        split = split_sources([*frames, *others], shares, seed, [frames])
        assert {split[name] for name in frames} == {"train"}
        assert 1 <= sum(where == "val" for where in split.values()) <= 9


def test_large_groups_are_no_likelier_to_be_for_validation() -> None:
    large = [[f"{index}_{member}" for member in range(54)] for index in range(50)]
    small = [[f"{index}_{member}" for member in range(2)] for index in range(50, 100)]
    names = [name for group in [*large, *small] for name in group]
    shares: dict[Split, float] = {"train": 0.9, "val": 0.1, "test": 0.0}
    groups = names_in_val = 0
    for seed in range(40):
        split = split_sources(names, shares, seed, [*large, *small])
        names_in_val += sum(where == "val" for where in split.values())
        groups += sum(split[group[0]] == "val" for group in large)
        groups -= sum(split[group[0]] == "val" for group in small)
    assert 0.09 < names_in_val / 40 / len(names) < 0.11
    assert -60 < groups < 60  # of some 400


def test_a_share_that_groups_do_not_leave_is_told(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [(f"{index}a", f"{index}b") for index in range(2)]
    names = [name for pair in pairs for name in pair]
    split = split_sources(names, {"train": 0.75, "val": 0.25, "test": 0.0}, 0, pairs)
    assert sorted(split.values()) == ["train", "train", "val", "val"]
    assert "split val has 2 of the 4 sources, where its share is 1" in caplog.text
    caplog.clear()
    split_sources("abc", {"train": 0.9, "val": 0.1, "test": 0.0}, 0)
    assert not caplog.text


def test_duplicates_count_once_when_splits_are_filled() -> None:
    with pytest.raises(InvalidDataset, match=r"2 usable .* near-duplicates counted once"):
        split_sources("abcd", SHARES, 0, [("a", "b", "c")])


def test_a_name_that_is_not_there_has_no_part() -> None:
    split = split_sources("abc", SHARES, 0, [("a", "gone")])
    assert sorted(split) == ["a", "b", "c"]
