"""What a network would not take is told before a training has left anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker import TrainConfig, train
from ranksrgan.ranker.shown import check_size


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"crop": 31}, "crop", r"crop=31 is too small for vgg12, which takes 32 x 32"),
        ({"crop": 40, "jitter": 9}, "jitter", r"crop=40 less jitter=9 is too small for vgg12"),
        ({"jitter": 89}, "jitter", r"faces, 140 x 120 pixels, less jitter=89 is too small"),
        ({"architecture": "nss", "border": 13}, "architecture", r"for nss, .* 122 x 122 pixels"),
    ],
)
def test_less_than_the_network_takes(settings: dict[str, object], key: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"^{key}: .*{message}") as caught:
        check_size(TrainConfig.model_validate(settings), (120, 140), "faces")
    assert caught.value.field == key


def test_as_much_as_the_network_takes() -> None:
    for settings in ({"crop": 32}, {"jitter": 88}, {"architecture": "nss", "border": 12}):
        check_size(TrainConfig.model_validate(settings), (120, 140), "faces")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"crop": 40}, InvalidDataset, "is 32 x 32 pixels and has no window of crop=40: 32 is"),
        ({"jitter": 1}, InvalidConfig, "jitter: .*, 32 x 32 pixels, less jitter=1 is too small"),
    ],
)
def test_a_training_begins_with_it(
    small: TrainConfig,
    blur_set: PairSource,
    tmp_path: Path,
    settings: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        train(small.model_copy(update=settings), blur_set, None, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
