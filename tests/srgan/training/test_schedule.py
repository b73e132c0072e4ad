from __future__ import annotations

import pytest

from ranksrgan.srgan.config import Constant, Cosine, MultiStep
from ranksrgan.srgan.training.schedule import learning_rate


def test_warm_up_rises_to_the_schedule() -> None:
    for schedule in (Constant(), MultiStep(milestones=(100,)), Cosine(period=1000)):
        plain = [learning_rate(schedule, 1e-4, step) for step in range(1, 31)]
        warm = [learning_rate(schedule, 1e-4, step, 10) for step in range(1, 31)]
        assert warm[9:] == plain[9:]
        for step in range(1, 10):
            assert warm[step - 1] == pytest.approx(plain[step - 1] * step / 10)


def test_the_published_schedule() -> None:
    """RankSRGAN's: half of 1e-4 at 50k, 100k, 200k and 300k steps."""
    schedule = MultiStep(milestones=(50_000, 100_000, 200_000, 300_000))
    rates = {step: learning_rate(schedule, 1e-4, step) for step in (1, 49_999, 50_000, 500_000)}
    assert rates == {1: 1e-4, 49_999: 1e-4, 50_000: 5e-5, 500_000: 1e-4 / 16}
