"""Made-up pictures, distorted in five ways and four degrees, with the opinion that belongs to them.

Small, quick and the same each time: what a quality model has to be able to learn in seconds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.metrics.correlation import srocc
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.objective import objective

SIDE = 72
DEGREES = 4


class Distorted(NamedTuple):
    """N images with their references.

    Attributes:
        images, references: ``(N, 3, 72, 72)`` in [0, 1].
        opinions: ``(N,)`` float64, the higher the better, standardised.
        groups: ``(N,)`` whose reference.
        kinds: ``(N,)`` how distorted.
    """

    images: Tensor
    references: Tensor
    opinions: Tensor
    groups: Tensor
    kinds: Tensor


def distorted(references: int, seed: int) -> Distorted:
    """Every distortion in every degree of so many references of its own.

    The opinion is minus the degree, plus what the content and the raters' moods add.
    """
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for group in range(references):
        reference = picture(group % 4, draw)
        taste = 0.2 * float(torch.randn((), generator=draw))
        for kind, distort in enumerate(DISTORTIONS):
            for degree in range(1, DEGREES + 1):
                image = distort(reference[None], degree, draw)[0].clamp(0, 1)
                mood = 0.2 * float(torch.randn((), generator=draw))
                rows.append((image, reference, -degree + taste + mood, group, kind))
    images, originals, opinions, groups, kinds = zip(*rows, strict=True)
    values = torch.tensor(opinions, dtype=torch.float64)
    return Distorted(
        torch.stack(images),
        torch.stack(originals),
        (values - values.mean()) / values.std(),
        torch.tensor(groups),
        torch.tensor(kinds),
    )


def picture(sort: int, draw: torch.Generator) -> Tensor:
    """``(3, 72, 72)``: slopes, a chequerboard, 1/f noise or glyphs, in colours of its own."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    dice = torch.rand(4, generator=draw).tolist()
    if sort == 0:
        angle = 2 * math.pi * dice[0]
        grey = 0.5 + 0.4 * torch.sin(4 * dice[1] + 7 * (x * math.cos(angle) + y * math.sin(angle)))
    elif sort == 1:
        cells = 4 + int(8 * dice[0])
        grey = 0.2 + 0.6 * (((x * cells + dice[1]).floor() + (y * cells).floor()) % 2)
    elif sort == 2:
        grey = torch.zeros(SIDE, SIDE)
    else:
        glyphs = (torch.rand(1, 1, 16, 16, generator=draw) > 0.6).float()
        grey = 0.15 + 0.7 * F.interpolate(glyphs, (SIDE, SIDE), mode="nearest")[0, 0]
    spectrum = torch.fft.rfft2(torch.randn(3, SIDE, SIDE, generator=draw))
    fy, fx = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]
    texture = torch.fft.irfft2(spectrum / (fx.square() + fy.square()).sqrt().clamp(min=1 / SIDE))
    texture = texture / texture.std()
    shares = torch.rand(3, 1, 1, generator=draw) * 0.5 + 0.5
    if sort == 2:
        return (0.5 + 0.2 * texture).clamp(0, 1)
    return (grey * shares + 0.04 * texture).clamp(0, 1)


def blur(images: Tensor, degree: int, draw: torch.Generator) -> Tensor:
    sigma = (0.5, 0.8, 1.3, 2.2)[degree - 1]
    window = torch.exp(-torch.arange(-6.0, 7.0).square() / (2 * sigma**2))
    window = (window / window.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(images, (6, 6, 6, 6), mode="reflect")
    return F.conv2d(F.conv2d(padded, window, groups=3), window.transpose(2, 3), groups=3)


def noise(images: Tensor, degree: int, draw: torch.Generator) -> Tensor:
    return images + (0.02, 0.05, 0.1, 0.2)[degree - 1] * torch.randn(images.shape, generator=draw)


def blocks(images: Tensor, degree: int, draw: torch.Generator) -> Tensor:
    """Coarse quantisation of the cosine transform of 8 x 8 blocks, as JPEG does."""
    step = (0.08, 0.16, 0.32, 0.6)[degree - 1]
    places = torch.arange(8.0)
    basis = torch.cos(math.pi * places[:, None] * (places + 0.5) / 8) / 2
    basis[0] /= math.sqrt(2)
    cut = images.unfold(2, 8, 8).unfold(3, 8, 8)
    weights = step * (1 + (places[:, None] + places) / 4)
    rounded = (basis @ cut @ basis.T / weights).round() * weights
    back = basis.T @ rounded @ basis
    return back.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def resample(images: Tensor, degree: int, draw: torch.Generator) -> Tensor:
    small = (48, 32, 20, 12)[degree - 1]
    down = F.interpolate(images, (small, small), mode="bicubic", antialias=True)
    return F.interpolate(down, (SIDE, SIDE), mode="bicubic")


def ringing(images: Tensor, degree: int, draw: torch.Generator) -> Tensor:
    """Oversharpened, so that edges have an echo."""
    return images + (0.5, 1.0, 2.0, 4.0)[degree - 1] * (images - blur(images, 3, draw))


DISTORTIONS = (blur, noise, blocks, resample, ringing)


def teach(
    model: QualityModel,
    data: Distorted,
    *,
    steps: int,
    rate: float,
    batch: int = 12,
    crop: int = 48,
) -> None:
    """A training without all that a real one has around it."""
    draw = torch.Generator().manual_seed(0)
    opinions = data.opinions.float() * (1 if model.higher_is_better else -1)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for step in range(steps):
        model.begin(step / steps)
        some = torch.randperm(len(opinions), generator=draw)[:batch]
        top, left = torch.randint(SIDE - crop + 1, (2,), generator=draw).tolist()
        window = (some, slice(None), slice(top, top + crop), slice(left, left + crop))
        learnt = model.learn(data.images[window], data.references[window], data.kinds[some])
        losses = dict(model.current_losses)
        cost = objective(losses, learnt.scores, opinions[some], data.groups[some], scale=0.5)
        optimizer.zero_grad()
        (cost if learnt.cost is None else cost + learnt.cost).backward()
        optimizer.step()
        schedule.step()
    model.eval()


def agreement(model: QualityModel, data: Distorted) -> float:
    """Spearman's correlation of quality as the model sees it with the opinions."""
    with torch.no_grad():
        chunks = zip(data.images.split(40), data.references.split(40), strict=True)
        scores = torch.cat([model(images, references) for images, references in chunks])
    return srocc(scores.double() * (1 if model.higher_is_better else -1), data.opinions)
