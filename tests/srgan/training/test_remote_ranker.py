"""The rank loss against a Ranker in a service: the same training, and what happens if it leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from tests.srgan.training.one_scorer import serving

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def ranked(gan: MakeConfig) -> MakeConfig:
    def make(socket: Path | None, steps: int) -> TrainConfig:
        rankers = [{"spec": f"unix://{socket}/toy0", "weight": 0.5}] if socket else []
        rank = {"weight": 1.0, "rankers": rankers, "retry_for": 0.3}
        return gan(losses={"rank": rank}, run={"steps": steps})

    return make


def test_twenty_steps_against_a_service_are_twenty_steps_in_process(
    ranked: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    socket = tmp_path / "ranker.sock"
    local: list[dict[str, float]] = []
    remote: list[dict[str, float]] = []
    here = train(
        ranked(None, 20),
        tmp_path / "local",
        rankers=[(toy_ranker(), 0.5)],
        on_step=lambda _, values: local.append(dict(values)),
    )
    with serving(toy_ranker(), f"unix:{socket}"):
        there = train(
            ranked(socket, 20),
            tmp_path / "remote",
            on_step=lambda _, values: remote.append(dict(values)),
        )
    assert len(local) == len(remote) == 20
    for a, b in zip(local, remote, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    ours, theirs = (load_weights(result.generator).tensors for result in (here, there))
    for key, value in ours.items():
        # Adam divides a gradient by its own size, also one that is all rounding.
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-4)
        off = (theirs[key] - value).abs() > 1e-5 + 1e-3 * value.abs()
        assert float(off.float().mean()) < 0.02, key


def test_a_service_that_stops_leaves_a_checkpoint_and_may_come_back_elsewhere(
    ranked: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    socket = tmp_path / "ranker.sock"
    with (
        serving(toy_ranker(), f"unix:{socket}") as server,
        pytest.raises(ServiceUnavailable, match=r"saved at step 3 in .*the same command"),
    ):
        train(
            ranked(socket, 8),
            tmp_path / "run",
            on_step=lambda step, _: server.stop() if step == 3 else None,
        )
    moved = tmp_path / "moved.sock"
    with serving(toy_ranker(), f"unix:{moved}"):
        result = train(ranked(moved, 8), tmp_path / "run")
        straight = train(ranked(moved, 8), tmp_path / "straight")
    assert result.finished
    assert load_weights(result.generator).sha256 == load_weights(straight.generator).sha256
