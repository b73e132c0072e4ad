from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.rankdata import chance

NAMES = st.lists(st.text(max_size=6), max_size=30, unique=True)


def _key(seed: int) -> Callable[[str], int]:
    return lambda name: chance.number(seed, name)


def test_numbers_are_the_same_for_ever_and_differ_by_seed_and_name() -> None:
    # printf '0\\0a' | sha256sum
    assert chance.number(0, "a") == 0x5F1AA0C8DAD9DC73
    assert chance.digest(0, "a")[:8] == bytes.fromhex("5f1aa0c8dad9dc73")
    assert len({chance.number(seed, name) for seed in range(9) for name in "abc"}) == 27
    assert chance.digest(1, "a", "b") != chance.digest(1, "ab")


@given(names=NAMES, count=st.integers(1, 30), seed=st.integers(0, 99))
def test_choice_keeps_the_order_and_does_not_depend_on_it(
    names: list[str], count: int, seed: int
) -> None:
    chosen = chance.choose(names, count, _key(seed))
    assert len(chosen) == min(count, len(names))
    assert chosen == [name for name in names if name in chosen]
    assert set(chance.choose(names[::-1], count, _key(seed))) == set(chosen)


@given(names=NAMES, count=st.integers(1, 30), added=st.text(min_size=7, max_size=9))
def test_one_more_takes_the_place_of_at_most_one(names: list[str], count: int, added: str) -> None:
    before = set(chance.choose(names, count, _key(0)))
    after = set(chance.choose([*names, added], count, _key(0)))
    assert len(before - after) <= 1


def test_all_without_a_count() -> None:
    assert chance.choose([3, 1, 2], None, lambda item: item) == [3, 1, 2]
    assert chance.choose([3, 1, 2], 2, lambda item: item) == [1, 2]
