"""How LR images are made: the configurations, and second-order blind degradation.

The second order is what real photographs have been through, drawn by chance: section 3 of
Real-ESRGAN (Wang et al., ICCV Workshops 2021, arXiv:2107.10833). Blur, resize, noise and JPEG, all
of it twice, the second JPEG in either order with a resize to the final size and a sinc filter.
Defaults are the paper's numbers (section 4.1), which the published options of its training repeat
and complete. The paper's queue of old samples has no part here: each sample has a degradation of
its own.

`draw` decides what happens to an image, `degrade` does it. Both take all their chance from the
generator that they are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import torch
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor

from ranksrgan.contracts.config import Config
from ranksrgan.srgan.data.degradation_kernels import GaussianKernel, SincKernel
from ranksrgan.srgan.data.degradation_steps import (
    Array,
    ResizeMode,
    blur,
    gaussian_noise,
    jpeg,
    poisson_noise,
    resize,
    to_float,
    to_uint8,
)

#: Sides of all kernels, equally likely.
KERNEL_SIZES = tuple(range(7, 22, 2))

# Lowest cutoff of the sinc filters: longer kernels can hold a longer wave. The highest is pi.
_LOWEST_CUTOFF = math.pi / 3
_LOWEST_CUTOFF_OF_LARGE = math.pi / 5
_LARGE = 13


def _rising(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"{list(interval)}: the lower end comes first")
    return interval


def _around_one(interval: tuple[float, float]) -> tuple[float, float]:
    if not interval[0] <= 1 <= interval[1]:
        raise ValueError(f"{list(interval)}: 1 has to lie between the two")
    return interval


Probability = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]
IntervalAroundOne = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_around_one)]
Quality = Annotated[int, Field(ge=1, le=100)]


class Shapes(Config):
    """How often the Gaussian kernels have which shape, as shares of the sum of all."""

    iso: NonNegativeFloat = 0.45
    aniso: NonNegativeFloat = 0.25
    generalised_iso: NonNegativeFloat = 0.12
    generalised_aniso: NonNegativeFloat = 0.03
    plateau_iso: NonNegativeFloat = 0.12
    plateau_aniso: NonNegativeFloat = 0.03

    @model_validator(mode="after")
    def _some(self) -> Shapes:
        if not any(self.model_dump().values()):
            raise ValueError("every share is 0, so there is no shape to draw")
        return self


class FirstStage(Config):
    """Blur, resize, noise and JPEG, the first time.

    Attributes:
        blur: probability of a blur.
        sinc: of a blur, that it is a sinc filter; otherwise a Gaussian of one of the ``shapes``.
        sigma: standard deviations of the Gaussians in pixels.
        generalised: power of a generalised Gaussian; half of them are below 1.
        plateau: power of a plateau, likewise.
        enlarge: probability of a resize by a factor from 1 to the upper end of ``factor``.
        shrink: probability of one by a factor from the lower end to 1.
        factor: of the resize. The first one is relative to the HR image, the second to the LR.
        gaussian: probability of Gaussian noise; otherwise it is Poisson noise.
        noise: standard deviation of Gaussian noise on 0..255.
        poisson: factor on Poisson noise.
        grey: probability that the noise is the same in all channels.
        quality: of the JPEG.
    """

    blur: Probability = 1.0
    sinc: Probability = 0.1
    shapes: Shapes = Shapes()
    sigma: Interval = (0.2, 3.0)
    generalised: IntervalAroundOne = (0.5, 4.0)
    plateau: IntervalAroundOne = (1.0, 2.0)
    enlarge: Probability = 0.2
    shrink: Probability = 0.7
    factor: IntervalAroundOne = (0.15, 1.5)
    gaussian: Probability = 0.5
    noise: Interval = (1.0, 30.0)
    poisson: Interval = (0.05, 3.0)
    grey: Probability = 0.4
    quality: Annotated[tuple[Quality, Quality], AfterValidator(_rising)] = (30, 95)

    @model_validator(mode="after")
    def _exclusive(self) -> FirstStage:
        if self.enlarge + self.shrink > 1:
            raise ValueError(
                f"enlarge is {self.enlarge} and shrink {self.shrink}; together they are 1 or less"
            )
        return self


class SecondStage(FirstStage):
    """The second time, milder."""

    blur: Probability = 0.8
    sigma: Interval = (0.2, 1.5)
    enlarge: Probability = 0.3
    shrink: Probability = 0.4
    factor: IntervalAroundOne = (0.3, 1.2)
    noise: Interval = (1.0, 25.0)
    poisson: Interval = (0.05, 2.5)


class SecondOrder(Config):
    """Ranges of the degradation.

    Attributes:
        final_sinc: probability of the sinc filter at the end.
        jpeg_last: probability that the second JPEG comes after it rather than before.
    """

    kind: Literal["second_order"] = "second_order"
    first: FirstStage = FirstStage()
    second: SecondStage = SecondStage()
    final_sinc: Probability = 0.8
    jpeg_last: Probability = 0.5


class Bicubic(Config):
    """MATLAB's antialiased bicubic of 8-bit pixels: what the field's test sets are made by."""

    kind: Literal["bicubic"] = "bicubic"


class RealScene(Config):
    """What the challenge of NTIRE 2020 does: a blur kernel, then noise; see `data.real_scene`.

    Attributes:
        noise: a folder of photographs whose flat patches are the pool of noise; None: no noise.
        patch: side of a patch in pixels.
        variance: of a patch's grey values, 0..255: below it.
        mean: of the same: above it.
        window: side of the parts of a patch that are added, each without its mean.
        kernels: a folder of blur kernels; None: MATLAB's bicubic.
    """

    kind: Literal["real_scene"] = "real_scene"
    noise: Path | None = None
    patch: PositiveInt = 256
    variance: PositiveFloat = 20.0
    mean: NonNegativeFloat = 0.0
    window: PositiveInt = 32
    kernels: Path | None = None

    @model_validator(mode="after")
    def _window_in_patch(self) -> RealScene:
        if self.window > self.patch:
            raise ValueError(f"window is {self.window}; it is cut out of a patch of {self.patch}")
        return self


Degradation = Annotated[Bicubic | SecondOrder | RealScene, Field(discriminator="kind")]


@dataclass(frozen=True)
class Noise:
    """``level``: a standard deviation on 0..255, or the factor on Poisson noise."""

    kind: Literal["gaussian", "poisson"]
    level: float
    grey: bool


@dataclass(frozen=True)
class Pass:
    """What one of the two stages does, in this order."""

    kernel: GaussianKernel | SincKernel | None
    factor: float
    mode: ResizeMode
    noise: Noise
    quality: int


@dataclass(frozen=True)
class Plan:
    """What happens to one image."""

    first: Pass
    second: Pass
    final_mode: ResizeMode
    final_sinc: SincKernel | None
    jpeg_last: bool


def draw(ranges: SecondOrder, random: np.random.Generator) -> Plan:
    """Draw the degradation of one image, uniformly within its ranges."""
    return Plan(
        first=_draw_pass(ranges.first, random),
        second=_draw_pass(ranges.second, random),
        final_mode=_draw_mode(random),
        final_sinc=(
            SincKernel(_draw_size(random), random.uniform(_LOWEST_CUTOFF, math.pi))
            if random.random() < ranges.final_sinc
            else None
        ),
        jpeg_last=random.random() < ranges.jpeg_last,
    )


def degrade(hr: Tensor, scale: int, plan: Plan, random: np.random.Generator) -> Tensor:
    """The LR image that ``plan`` makes of an HR image.

    Args:
        hr: ``(3, scale * h, scale * w)`` uint8.
        scale: HR side over LR side.
        plan: what is done.
        random: decides the noise.

    Returns:
        ``(3, h, w)`` uint8. LR pixel (y, x) shows what HR pixels ``scale * y`` to
        ``scale * y + scale - 1`` do, like a bicubic LR.
    """
    height, width = hr.shape[1] // scale, hr.shape[2] // scale
    image = to_float(np.ascontiguousarray(hr.permute(1, 2, 0).numpy()))

    first, second = plan.first, plan.second
    image = _blur_resize_noise(image, first, hr.shape[1], hr.shape[2], random)
    image = jpeg(image, first.quality)
    image = _blur_resize_noise(image, second, height, width, random)
    if not plan.jpeg_last:
        image = jpeg(image, second.quality)
    image = resize(image, height, width, plan.final_mode)
    if plan.final_sinc is not None:
        image = blur(image, plan.final_sinc.weights())
    if plan.jpeg_last:
        image = jpeg(image, second.quality)
    return torch.from_numpy(to_uint8(image)).permute(2, 0, 1).contiguous()


def _blur_resize_noise(
    image: Array, wanted: Pass, height: int, width: int, random: np.random.Generator
) -> Array:
    """One stage but its JPEG; ``factor`` is relative to ``height`` and ``width``."""
    if wanted.kernel is not None:
        image = blur(image, wanted.kernel.weights())
    height, width = (max(1, round(wanted.factor * side)) for side in (height, width))
    image = resize(image, height, width, wanted.mode)
    add = gaussian_noise if wanted.noise.kind == "gaussian" else poisson_noise
    return add(image, wanted.noise.level, wanted.noise.grey, random)


def _draw_pass(ranges: FirstStage, random: np.random.Generator) -> Pass:
    kernel = _draw_kernel(ranges, random) if random.random() < ranges.blur else None
    toss = random.random()
    factor = 1.0
    if toss < ranges.enlarge:
        factor = random.uniform(1, ranges.factor[1])
    elif toss < ranges.enlarge + ranges.shrink:
        factor = random.uniform(ranges.factor[0], 1)
    mode = _draw_mode(random)
    gaussian = random.random() < ranges.gaussian
    level = random.uniform(*(ranges.noise if gaussian else ranges.poisson))
    noise = Noise("gaussian" if gaussian else "poisson", level, grey=random.random() < ranges.grey)
    quality = int(random.integers(ranges.quality[0], ranges.quality[1] + 1))
    return Pass(kernel, factor, mode, noise, quality)


def _draw_kernel(ranges: FirstStage, random: np.random.Generator) -> GaussianKernel | SincKernel:
    size = _draw_size(random)
    if random.random() < ranges.sinc:
        lowest = _LOWEST_CUTOFF if size < _LARGE else _LOWEST_CUTOFF_OF_LARGE
        return SincKernel(size, random.uniform(lowest, math.pi))
    shares = ranges.shapes.model_dump()
    total = sum(shares.values())
    shape = str(random.choice(list(shares), p=[share / total for share in shares.values()]))
    along = across = random.uniform(*ranges.sigma)
    angle = 0.0
    if shape.endswith("aniso"):
        across, angle = random.uniform(*ranges.sigma), random.uniform(-math.pi, math.pi)
    power, plateau = 1.0, shape.startswith("plateau")
    if plateau or shape.startswith("generalised"):
        low, high = ranges.plateau if plateau else ranges.generalised
        power = random.uniform(low, 1) if random.random() < 0.5 else random.uniform(1, high)
    return GaussianKernel(size, (along, across), angle, power, plateau)


def _draw_size(random: np.random.Generator) -> int:
    return int(random.choice(KERNEL_SIZES))


def _draw_mode(random: np.random.Generator) -> ResizeMode:
    modes: tuple[ResizeMode, ...] = get_args(ResizeMode)
    return modes[random.integers(len(modes))]
