from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kendalltau

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.config import DriftConfig
from ranksrgan.srgan.training.drift import DriftAlarm, trend

DIRECTIONS = {"ranker": False, "psnr": True, "lpips": False, "dists": False}


def alarm(**changes: object) -> DriftAlarm:
    content = {"optimised": ["ranker"], "held_out": ["lpips", "dists"], **changes}
    return DriftAlarm(DriftConfig.model_validate(content), DIRECTIONS)


def series(**metrics: list[float | None]) -> list[tuple[int, dict[str, float | None]]]:
    """Validations every 100 steps; metrics that are not given stand still."""
    count = len(next(iter(metrics.values())))
    still = dict.fromkeys(DIRECTIONS, [1.0] * count)
    columns = {**still, **metrics}
    return [
        (100 * index, {name: column[index] for name, column in columns.items()})
        for index in range(count)
    ]


def test_trend_is_kendalls_tau() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.normal(size=random.integers(2, 9)).tolist()
        assert trend(values) == pytest.approx(kendalltau(range(len(values)), values).statistic)
    assert trend([1.0, 1.0, 1.0]) == 0
    clear = [order for order in permutations(range(5)) if trend(order) >= 0.8]
    assert len(clear) / 120 == pytest.approx(1 / 24)


def test_a_ranker_that_is_fooled() -> None:
    found = alarm().check(
        series(ranker=[0.9, 0.8, 0.7, 0.6, 0.5], lpips=[0.2, 0.21, 0.22, 0.24, 0.25])
    )
    assert found is not None
    assert "from step 0 to 400 ranker (0.9 to 0.5) improved and lpips (0.2 to 0.25) got" in found
    assert "dists" not in found


@pytest.mark.parametrize(
    ("ranker", "lpips"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], [0.25, 0.24, 0.22, 0.21, 0.2]),  # both improve
        ([0.5, 0.6, 0.7, 0.8, 0.9], [0.2, 0.21, 0.22, 0.24, 0.25]),  # both get worse
        ([0.9, 0.8, 0.7, 0.6, 0.5], [0.2, 0.25, 0.19, 0.26, 0.21]),  # noise
        ([0.9, 0.5, 0.8, 0.6, 0.7], [0.2, 0.21, 0.22, 0.24, 0.25]),
        ([0.9, 0.8, 0.7, 0.6], [0.2, 0.21, 0.22, 0.24]),  # too few
        ([0.9, 0.8, None, 0.6, 0.5], [0.2, 0.21, 0.22, 0.24, 0.25]),  # no value
    ],
)
def test_what_is_no_drift(ranker: list[float | None], lpips: list[float | None]) -> None:
    assert alarm().check(series(ranker=ranker, lpips=lpips)) is None


def test_an_outlier_does_not_hide_it_and_the_past_does_not_count() -> None:
    past = series(
        ranker=[0.1, 0.2, 0.9, 0.8, 0.7, 0.5, 0.6], lpips=[0.9, 0.8, 0.2, 0.21, 0.22, 0.24, 0.25]
    )
    assert alarm().check(past) is not None
    assert alarm(agreement=1.0).check(past) is None
    assert alarm(over=7).check(past) is None
    assert alarm(over=3).check(past) is None  # three: 0.7, 0.5, 0.6 is not clear enough


def test_directions_are_those_of_the_metrics() -> None:
    watch = alarm(optimised=["psnr"], over=3)
    assert watch.check(series(psnr=[30, 31, 32], dists=[0.1, 0.2, 0.3])) is not None
    assert watch.check(series(psnr=[32, 31, 30], dists=[0.1, 0.2, 0.3])) is None


def test_remembers_as_much_as_it_looks_at() -> None:
    watch, recent = alarm(over=3), []
    for step, scores in series(ranker=[5.0, 4, 3, 2, 1]):
        recent = watch.remember(recent, step, scores)
    assert [step for step, _ in recent] == [200, 300, 400]


@pytest.mark.parametrize("key", ["optimised", "held_out"])
def test_a_metric_that_there_is_not(key: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"drift\.{key} names niqe; there is ranker, psnr"):
        alarm(**{key: ["niqe"]})
    with pytest.raises(ValueError, match="at least 1"):
        alarm(**{key: []})
