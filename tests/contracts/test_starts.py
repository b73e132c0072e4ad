from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig
from ranksrgan.contracts.starts import STARTS_FILE, check_starts


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write(tmp_path / "weights.safetensors", 1.0)


def write(path: Path, value: float) -> Path:
    tensors = {"w": torch.tensor([value])}
    save_weights(path, tensors, kind="generator", architecture="a", options={})
    return path


def test_weights_are_compared_once_there_is_a_state(tmp_path: Path, weights: Path) -> None:
    state = tmp_path / "run" / "last.state.pt"
    check_starts(state, {})
    check_starts(state, {"generator.weights": weights})  # nothing was learnt from nothing yet
    state.touch()
    check_starts(state, {"generator.weights": weights})
    moved = weights.rename(tmp_path / "moved.safetensors")
    check_starts(state, {"generator.weights": moved})
    check_starts(state, {"generator.weights": weights})  # gone, and not replaced
    write(weights, 2.0)
    message = (
        r"generator\.weights: the training in .*run started from other weights \(sha256 \w{12}"
    )
    with pytest.raises(InvalidConfig, match=message) as caught:
        check_starts(state, {"generator.weights": weights})
    assert caught.value.field == "generator.weights"


@pytest.mark.parametrize("first", [True, False])
def test_weights_that_are_added_or_left_out_are_other_ones(
    tmp_path: Path, weights: Path, first: bool
) -> None:
    state = tmp_path / "run" / "last.state.pt"
    both = [{"a": weights, "b": weights}, {"a": weights}]
    check_starts(state, both[first])
    state.touch()
    with pytest.raises(InvalidConfig, match=r"b: .*none"):
        check_starts(state, both[not first])


def test_a_state_without_a_note_is_taken_as_it_is(tmp_path: Path, weights: Path) -> None:
    state = tmp_path / "last.state.pt"
    state.touch()
    check_starts(state, {"generator.weights": weights})
    assert not (tmp_path / STARTS_FILE).exists()


def test_a_damaged_note_is_named(tmp_path: Path, weights: Path) -> None:
    state = tmp_path / "last.state.pt"
    state.touch()
    (tmp_path / STARTS_FILE).write_text("{")
    with pytest.raises(InvalidCheckpoint, match=r"starts\.json is damaged"):
        check_starts(state, {"generator.weights": weights})
