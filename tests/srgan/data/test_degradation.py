from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.data import degradation_steps as steps
from ranksrgan.srgan.data.degradation import (
    KERNEL_SIZES,
    FirstStage,
    Noise,
    Pass,
    Plan,
    SecondOrder,
    SecondStage,
    degrade,
    draw,
)
from ranksrgan.srgan.data.degradation_kernels import GaussianKernel, SincKernel

PUBLISHED = SecondOrder()


def plans(count: int, ranges: SecondOrder = PUBLISHED) -> list[Plan]:
    return [draw(ranges, np.random.default_rng([0, k])) for k in range(count)]


def image(height: int = 96, width: int = 80, seed: int = 0) -> torch.Tensor:
    """Smooth colours."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    planes = [
        127 + 90 * np.sin(rows / random.uniform(12, 20) + columns / random.uniform(12, 20))
        for _ in range(3)
    ]
    return torch.from_numpy(np.stack(planes).astype(np.uint8))


def test_defaults_are_the_published_numbers() -> None:
    """Section 4.1 of the paper, and train_realesrgan_x4plus.yml for what it leaves out."""
    shapes = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalised_iso": 0.12,
        "generalised_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    common = {
        "sinc": 0.1,
        "shapes": shapes,
        "generalised": (0.5, 4.0),
        "plateau": (1.0, 2.0),
        "gaussian": 0.5,
        "grey": 0.4,
        "quality": (30, 95),
    }
    assert FirstStage().model_dump() == common | {
        "blur": 1.0,
        "sigma": (0.2, 3.0),
        "enlarge": 0.2,
        "shrink": 0.7,
        "factor": (0.15, 1.5),
        "noise": (1.0, 30.0),
        "poisson": (0.05, 3.0),
    }
    assert SecondStage().model_dump() == common | {
        "blur": 0.8,
        "sigma": (0.2, 1.5),
        "enlarge": 0.3,
        "shrink": 0.4,
        "factor": (0.3, 1.2),
        "noise": (1.0, 25.0),
        "poisson": (0.05, 2.5),
    }
    assert (PUBLISHED.final_sinc, PUBLISHED.jpeg_last) == (0.8, 0.5)
    assert KERNEL_SIZES == (7, 9, 11, 13, 15, 17, 19, 21)


@given(
    seed=st.integers(0, 2**32),
    sigma=st.tuples(st.floats(0.1, 2), st.floats(2, 5)),
    power=st.tuples(st.floats(0.3, 1), st.floats(1, 5)),
    factor=st.tuples(st.floats(0.1, 1), st.floats(1, 2)),
    level=st.tuples(st.floats(0.01, 5), st.floats(5, 40)),
    quality=st.tuples(st.integers(1, 50), st.integers(50, 100)),
)
def test_what_is_drawn_lies_within_the_ranges(
    seed: int,
    sigma: tuple[float, float],
    power: tuple[float, float],
    factor: tuple[float, float],
    level: tuple[float, float],
    quality: tuple[int, int],
) -> None:
    ranges = SecondOrder(
        first=FirstStage(
            sigma=sigma,
            generalised=power,
            plateau=power,
            factor=factor,
            noise=level,
            poisson=level,
            quality=quality,
        )
    )
    plan = draw(ranges, np.random.default_rng(seed))
    for stage, drawn in ((ranges.first, plan.first), (ranges.second, plan.second)):
        kernel = drawn.kernel
        if isinstance(kernel, SincKernel):
            lowest = math.pi / 3 if kernel.size < 13 else math.pi / 5
            assert lowest <= kernel.cutoff <= math.pi
        elif kernel is not None:
            assert all(stage.sigma[0] <= width <= stage.sigma[1] for width in kernel.sigma)
            assert -math.pi <= kernel.angle <= math.pi
            low, high = stage.plateau if kernel.plateau else stage.generalised
            assert low <= kernel.power <= high
        if kernel is not None:
            assert kernel.size in KERNEL_SIZES
        assert stage.factor[0] <= drawn.factor <= stage.factor[1]
        low, high = stage.noise if drawn.noise.kind == "gaussian" else stage.poisson
        assert low <= drawn.noise.level <= high
        assert stage.quality[0] <= drawn.quality <= stage.quality[1]
    if plan.final_sinc is not None:
        assert math.pi / 3 <= plan.final_sinc.cutoff <= math.pi
        assert plan.final_sinc.size in KERNEL_SIZES


def test_everything_is_drawn_as_often_as_published() -> None:
    drawn = plans(4000)
    counts: Counter[str] = Counter()
    for plan in drawn:
        for name, stage in (("first", plan.first), ("second", plan.second)):
            kernel = stage.kernel
            kind = "none"
            if isinstance(kernel, SincKernel):
                kind = "sinc"
            elif kernel is not None:
                round_ = kernel.sigma[0] == kernel.sigma[1]
                assert round_ == (kernel.angle == 0)
                form = "plateau " if kernel.plateau else "powered " if kernel.power != 1 else ""
                kind = form + ("iso" if round_ else "aniso")
            change = "larger" if stage.factor > 1 else "smaller" if stage.factor < 1 else "same"
            noise = f"{stage.noise.kind}{' grey' if stage.noise.grey else ''}"
            counts.update(f"{name}: {what}" for what in (kind, change, noise, stage.mode))
        counts["final sinc"] += plan.final_sinc is not None
        counts["jpeg last"] += plan.jpeg_last
    expected = {
        "first: sinc": 0.1,
        "first: iso": 0.9 * 0.45,
        "first: aniso": 0.9 * 0.25,
        "first: powered iso": 0.9 * 0.12,
        "first: powered aniso": 0.9 * 0.03,
        "first: plateau iso": 0.9 * 0.12,
        "first: plateau aniso": 0.9 * 0.03,
        "second: none": 0.2,
        "second: sinc": 0.08,
        "second: iso": 0.72 * 0.45,
        "first: larger": 0.2,
        "first: smaller": 0.7,
        "first: same": 0.1,
        "second: larger": 0.3,
        "second: smaller": 0.4,
        "second: same": 0.3,
        "first: gaussian": 0.3,
        "first: gaussian grey": 0.2,
        "second: poisson": 0.3,
        "second: poisson grey": 0.2,
        "first: area": 1 / 3,
        "first: bilinear": 1 / 3,
        "first: bicubic": 1 / 3,
        "final sinc": 0.8,
        "jpeg last": 0.5,
    }
    for what, share in expected.items():
        deviation = math.sqrt(share * (1 - share) / len(drawn))
        assert abs(counts[what] / len(drawn) - share) < 4.5 * deviation, what
    assert counts["first: none"] == 0


def test_half_of_the_powers_are_below_1() -> None:
    ranges = SecondOrder.model_validate(
        {"first": {"sinc": 0, "shapes": {"generalised_iso": 1, "iso": 0, "aniso": 0,
         "generalised_aniso": 0, "plateau_iso": 0, "plateau_aniso": 0}}}
    )  # fmt: skip
    kernels = [plan.first.kernel for plan in plans(400, ranges)]
    powers = [kernel.power for kernel in kernels if isinstance(kernel, GaussianKernel)]
    assert len(powers) == 400
    assert 150 < sum(power < 1 for power in powers) < 250
    assert max(powers) > 3.5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_degrade_does_the_steps_in_order(scale: int) -> None:
    """The same by hand; both orders of the last JPEG."""
    hr = image(scale * 24, scale * 20)
    blurring, ringing = GaussianKernel(9, (2.0, 0.8), 0.5), SincKernel(7, 1.2)
    plan = Plan(
        first=Pass(blurring, 0.7, "bicubic", Noise("gaussian", 9.0, grey=False), 60),
        second=Pass(ringing, 1.1, "bilinear", Noise("poisson", 0.4, grey=True), 45),
        final_mode="area",
        final_sinc=SincKernel(11, 2.0),
        jpeg_last=False,
    )
    for jpeg_last in (False, True):
        random = np.random.default_rng(7)
        x = hr.numpy().transpose(1, 2, 0).astype(np.float32) / np.float32(255)
        x = steps.blur(x, blurring.weights())
        x = steps.resize(x, round(0.7 * scale * 24), round(0.7 * scale * 20), "bicubic")
        x = steps.jpeg(steps.gaussian_noise(x, 9.0, False, random), 60)
        x = steps.blur(x, ringing.weights())
        x = steps.resize(x, round(1.1 * 24), round(1.1 * 20), "bilinear")
        x = steps.poisson_noise(x, 0.4, True, random)
        if jpeg_last:
            x = steps.blur(steps.resize(x, 24, 20, "area"), SincKernel(11, 2.0).weights())
            x = steps.jpeg(x, 45)
        else:
            x = steps.resize(steps.jpeg(x, 45), 24, 20, "area")
            x = steps.blur(x, SincKernel(11, 2.0).weights())
        lr = degrade(hr, scale, replace(plan, jpeg_last=jpeg_last), np.random.default_rng(7))
        assert lr.shape == (3, 24, 20)
        assert np.array_equal(lr.numpy().transpose(1, 2, 0), steps.to_uint8(x))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
def test_lr_shows_what_hr_shows_there(scale: int, factor: float) -> None:
    """With next to no degradation LR is the mean over its HR pixels, not shifted by a fraction."""
    hr = image(scale * 40, scale * 30)[:1].repeat(3, 1, 1)  # grey: JPEG halves colours
    nothing = Pass(None, factor, "bilinear", Noise("gaussian", 1e-3, grey=False), 100)
    plan = Plan(nothing, nothing, "bicubic", None, jpeg_last=True)
    lr = degrade(hr, scale, plan, np.random.default_rng(0)).float()
    mean = torch.nn.functional.avg_pool2d(hr[None].float(), scale)[0]

    def distance(dy: int, dx: int) -> float:
        moved = mean.roll((dy, dx), (1, 2))
        return float((lr - moved)[:, 4:-4, 4:-4].abs().mean())

    assert distance(0, 0) < 3
    assert all(
        distance(dy, dx) > 1.5 * distance(0, 0) for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([2, 3, 4]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_any_size_and_any_draw_gives_an_image(
    seed: int, scale: int, height: int, width: int
) -> None:
    hr = image(scale * height, scale * width)

    def made() -> torch.Tensor:
        random = np.random.default_rng(seed)
        return degrade(hr, scale, draw(PUBLISHED, random), random)

    lr = made()
    assert lr.dtype == torch.uint8
    assert lr.shape == (3, height, width)
    assert torch.equal(lr, made())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"first": {"sigma": [3, 1]}}, "lower end comes first"),
        ({"first": {"factor": [1.2, 1.5]}}, "1 has to lie between"),
        ({"second": {"plateau": [0.2, 0.5]}}, "1 has to lie between"),
        ({"second": {"enlarge": 0.7}}, "together they are 1 or less"),
        ({"first": {"quality": [0, 95]}}, "first.quality"),
        ({"first": {"noise": [-1, 30]}}, "first.noise"),
        ({"final_sinc": 1.5}, "final_sinc"),
        (
            {"first": {"shapes": dict.fromkeys(PUBLISHED.first.shapes.model_dump(), 0)}},
            "no shape to draw",
        ),
        ({"first": {"blurr": 1}}, "did you mean first.blur"),
    ],
)
def test_impossible_ranges_are_refused(content: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidConfig, match=said):
        make_config(SecondOrder, content)
