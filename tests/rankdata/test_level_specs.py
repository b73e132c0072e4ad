from __future__ import annotations

import pytest

from ranksrgan.rankdata.level_specs import (
    Distortion,
    Interpolation,
    check_order,
    distortion,
    interpolation,
    making_order,
)


def test_specs_are_taken_apart() -> None:
    assert interpolation("interpolate:sr:0.25") == Interpolation("sr", 0.25)
    assert distortion("blur:0.1") == Distortion("blur", 0.1, None)
    assert distortion("noise:15:srgan") == Distortion("noise", 15.0, "srgan")
    assert distortion("jpeg:100") == Distortion("jpeg", 100, None)
    for other in ("hr", "bicubic", "blur", "runs/blur:2", "grpc://host:1/jpeg"):
        assert interpolation(other) is None
        assert distortion(other) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("blur:", "write blur:WIDTH or blur:WIDTH:NAME"),
        ("blur:2:sr:3", "write blur:WIDTH or blur:WIDTH:NAME"),
        ("noise:loud", "write noise:SIGMA"),
        ("jpeg:7.5", "write jpeg:QUALITY"),
        ("blur:0", "WIDTH lies above 0 up to 100"),
        ("blur:1e9", "WIDTH lies above 0 up to 100"),
        ("blur:nan", "WIDTH lies above 0 up to 100"),
        ("noise:-1", "SIGMA lies above 0 up to 255"),
        ("jpeg:0", "QUALITY lies from 1 up to 100"),
        ("jpeg:101", "QUALITY lies from 1 up to 100"),
    ],
)
def test_distortions_that_do_not_exist(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distortion(spec)


def test_levels_are_made_after_what_they_are_made_from() -> None:
    levels = {
        "hr": "hr",
        "quarter": "interpolate:half:0.5",
        "half": "interpolate:sr:0.5",
        "noisy": "noise:3:quarter",
        "sr": "bicubic",
    }
    order = making_order(levels)
    assert sorted(order) == sorted(levels)
    for later, earlier in (("quarter", "half"), ("half", "sr"), ("noisy", "quarter")):
        assert order.index(later) > order.index(earlier)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"a": "interpolate:b:0.5", "b": "blur:2:a"}, "is made from itself; the levels are a, b"),
        ({"a": "hr", "b": "blur:2:b"}, "b=blur:2:b: is made from itself"),
        ({"a": "hr", "b": "blur:2:c"}, "b=blur:2:c: 'c' is not a level; the levels are a, b"),
        ({"a": "hr", "b": "blur:2:"}, "'' is not a level"),
    ],
)
def test_levels_made_from_nothing(levels: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        making_order(levels)


@pytest.mark.parametrize(
    "levels",
    [
        {"hr": "hr", "b01": "blur:0.1", "b2": "blur:2", "b4": "blur:4"},
        {"hr": "hr", "n1": "noise:1", "b2": "blur:2", "n15": "noise:15", "b1": "blur:1:n15"},
        {"j90": "jpeg:90", "j50": "jpeg:50", "j10": "jpeg:10"},
        {"hr": "hr", "q": "interpolate:sr:0.25", "h": "interpolate:sr:0.5", "sr": "bicubic"},
        {"esrgan": "a.pth", "srgan": "b.pth", "hr": "hr"},  # by method, whatever it is
        {"sr": "bicubic", "b1": "blur:1:sr", "hr": "hr", "b0": "blur:0.5"},
    ],
)
def test_orders_that_hold(levels: dict[str, str]) -> None:
    check_order(levels)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            {"hr": "hr", "b4": "blur:4", "b2": "blur:2"},
            r"b4 \(blur:4\) is listed before b2 \(blur:2\), which is nearer to the original",
        ),
        ({"j10": "jpeg:10", "j90": "jpeg:90"}, r"j10 .* before j90 .* nearer"),
        ({"n1": "noise:1", "again": "noise:1"}, r"n1 .* before again .* as strong"),
        ({"n1": "noise:1", "hr": "hr"}, r"n1 .* before hr \(hr\), which is nearer"),
        ({"b1": "blur:1:sr", "sr": "bicubic"}, r"b1 .* before sr \(bicubic\), which is nearer"),
        (
            {"sr": "bicubic", "h": "interpolate:sr:0.5", "q": "interpolate:sr:0.25"},
            r"sr \(bicubic\) is listed before h ",
        ),
        (
            {"h": "interpolate:sr:0.5", "q": "interpolate:sr:0.25", "sr": "bicubic"},
            r"h \(interpolate:sr:0.5\) is listed before q ",
        ),
    ],
)
def test_orders_against_the_strength_name_both_levels(levels: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_order(levels)
