"""No build is begun, after hours of other work, that could not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import ImageTooSmall, InvalidDataset, InvalidImage
from ranksrgan.contracts.images import stored_size
from ranksrgan.rankdata import BuildConfig
from ranksrgan.rankdata.beforehand import check_here, check_room


def made(hr: Path, **settings: object) -> BuildConfig:
    """Of four images of 101 x 98 pixels, of which a scale of 4 uses 100 x 96."""
    required = {"hr": hr, "output": "out", "levels": {"a": "not-there-yet.pth", "b": "hr"}}
    return BuildConfig.model_validate(required | {"metric": "rmse", "crop": 96} | settings)


@pytest.mark.parametrize(
    ("settings", "largest"),
    [({"crop": 97}, 96), ({"last_offset": False}, 95), ({"crop": 99, "scale": 1}, 98)],
)
def test_images_without_room_for_a_crop(
    hr: Path, settings: dict[str, object], largest: int
) -> None:
    with pytest.raises(InvalidDataset, match=f"room for .*; {largest} is the largest") as caught:
        check_room(made(hr, **settings))
    assert caught.value.field == "crop"
    check_room(made(hr, **settings | {"crop": largest}))


def test_each_size_is_read_once(hr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def recording(path: Path) -> tuple[int, int]:
        asked.append(path)
        return stored_size(path)

    monkeypatch.setattr("ranksrgan.rankdata.beforehand.stored_size", recording)
    with pytest.raises(InvalidDataset, match="96 is the largest"):
        check_room(made(hr, crop=97))
    assert asked == sorted(hr.iterdir())


def test_images_that_cannot_fill_the_splits(hr: Path) -> None:
    check_room(made(hr, val=0.1, test=0.1))
    with pytest.raises(InvalidDataset, match=r"^2 usable source image\(s\).* cannot fill 3 splits"):
        check_room(made(hr, val=0.1, test=0.1, sources=2))


def test_headers_are_read_and_no_more_than_are_needed(hr: Path) -> None:
    first, *_, last = sorted(hr.iterdir())
    last.write_bytes(b"no image")
    check_room(made(hr))
    first.write_bytes(first.read_bytes()[:60])  # a header, and no pixels
    check_room(made(hr))
    with pytest.raises(InvalidImage, match=f"{last.name} is not a PNG"):
        check_room(made(hr, crop=97))


_AWAY = "unix:/nowhere.sock/niqe"


@pytest.mark.parametrize(
    "metrics",
    [
        {"further": ["niqe"]},
        {"metric": "niqe+0.4*rmse"},
        {"metric": _AWAY, "further": ["niqe"]},
        {"metric": "niqe", "further": [_AWAY]},
    ],
)
def test_metrics_take_the_crops(hr: Path, metrics: dict[str, object]) -> None:
    with pytest.raises(ImageTooSmall, match=r"96 pixels a side .*; crop=192 would do"):
        check_here(made(hr, **metrics))


def test_neither_services_nor_sums_with_one_are_asked(hr: Path) -> None:
    check_here(made(hr, metric=_AWAY, further=["rmse"]))
    check_here(made(hr, metric="niqe+0.5*(unix:/nowhere.sock/ranker)"))
    check_here(made(hr, metric="niqe", crop="whole"))
    check_here(made(hr, metric="no-such", label="order"))
