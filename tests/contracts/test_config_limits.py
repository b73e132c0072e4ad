"""What clients' configurations may ask for: at the limit, beyond it, and where nothing is said."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.errors import InvalidConfig


class Inner(Config):
    batch: int = 8
    names: int = 2


class Limits(Config):
    steps: int = 100
    data: Inner = Inner()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"steps": 100, "data": {"batch": 8, "names": ["a", "b"]}},
        {"steps": 99.5, "data": {"names": {"a": 1}}},
        {"steps": True, "data": {"batch": None, "other": 10**9}},
        {"steps": "many", "data": "no section"},
        {"data": {"batch": "9"}},
        {"others": [1] * 1000},
    ],
)
def test_what_is_within(content: dict[str, Any]) -> None:
    check_limits(content, Limits(), "limits")


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        ({"steps": 101}, "steps", "steps: 101 is more than this server allows, 100 (limits.steps)"),
        ({"steps": 10**12}, "steps", "steps: 1e+12 is more"),
        ({"steps": 1e300}, "steps", "1e+300 is more"),
        ({"steps": math.nan}, "steps", "nan is more"),
        ({"data": {"batch": 8.01}}, "data.batch", "8.01 is more than this server allows, 8 "),
        ({"data": {"names": ["a"] * 3}}, "data.names", "3 entries are more"),
        ({"data": {"names": dict.fromkeys("abc")}}, "data.names", "(limits.data.names)"),
        ({"data": {"names": ("a", "b", "c")}}, "data.names", "3 entries"),
    ],
)
def test_what_is_beyond(content: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check_limits(content, Limits(), "limits")
    assert caught.value.field == field
    assert message in str(caught.value)


def test_an_operator_sets_them() -> None:
    check_limits({"steps": 10**6}, Limits(steps=10**6), "limits")
    with pytest.raises(InvalidConfig, match="allows, 3 "):
        check_limits({"data": {"batch": 4}}, Limits(data=Inner(batch=3)), "limits")
