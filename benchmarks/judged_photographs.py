"""A stand-in for PIPAL and TID2013: photographs, distortions of graded strength, simulated votes.

Each reference is a crop of a photograph. Its versions are blurred, noisy, JPEG-compressed and
shrunk and enlarged again, four strengths each, and the results of super-resolution networks.

The quality that nobody sees is a fixed blend of LPIPS-Alex and strength, with an offset for each
judge and image, in Elo points: 1400 at the mean, 120 the standard deviation, as PIPAL's opinions
are spread. Judges compare two versions of one reference, each with a random error of their own, and
prefer one with Elo's probability. The opinions are PIPAL's: Elo ratings, mean of the last updates.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.discovery import open_scorer, open_upscaler
from ranksrgan.contracts.images import from_tensor, list_images, write_image
from ranksrgan.metrics import imresize_uint8
from ranksrgan.metrics.elo import win_probability
from ranksrgan.rankdata.degradation import Source, degrade, read_rgb, round_to_8_bits
from ranksrgan.rankdata.distortions import distorting
from ranksrgan.rankdata.human import VotesConfig, build_from_judgements
from ranksrgan.rankdata.level_specs import Distortion, DistortionKind
from ranksrgan.rankdata.study_ratings import EloRating

#: For the head of a table.
DESCRIPTION = """\
Simulated opinions: crops of photographs, each blurred, noisy, JPEG-compressed and shrunk in four
strengths and enlarged by super-resolution networks. Their hidden quality is a fixed blend of
LPIPS-Alex (0.6) and strength (0.4), with an offset of each image and an error of each judgement;
the opinions are Elo ratings of votes drawn from it."""

SCALE = 4

#: Of each kind, from weak to strong.
STRENGTHS: dict[DistortionKind, tuple[float, ...]] = {
    "blur": (0.7, 1.1, 1.7, 2.6),
    "noise": (5, 10, 20, 40),
    "jpeg": (60, 30, 15, 8),
}
#: Sides that an image is shrunk to, as shares.
SHRUNK = (0.75, 0.5, 0.375, 0.25)

# Of the quality: how much LPIPS counts beside strength, and the deviations of what is random, in
# Elo points: of an image, and of a judge in one comparison.
_LPIPS_SHARE = 0.6
_OF_IMAGE, _OF_JUDGE = 25.0, 40.0
_MEAN, _SPREAD = 1400.0, 120.0

# Strength of a network's result, beside 0.25 to 1 of the others.
_NETWORK = 0.5


def judged_photographs(
    photographs: Path,
    networks: Mapping[str, str],
    folder: Path,
    *,
    references: int,
    side: int,
    votes: int,
    seed: int = 0,
) -> Path:
    """Make the dataset, or find it where an earlier run has made it.

    Args:
        photographs: folder of at least so many.
        networks: of x4 super-resolution, a spec for `open_upscaler` each, by name.
        folder: of everything; the rank dataset is ``folder/ranks``.
        references: how many photographs are taken.
        side: of the references in pixels, a multiple of 8.
        votes: how many comparisons each version takes part in, on average.
        seed: of crops, noise, votes and split.
    """
    dataset = folder / "ranks"
    if dataset.is_dir():
        return dataset
    upscalers = {name: open_upscaler(spec) for name, spec in networks.items()}
    distance = open_scorer("lpips")
    hidden: dict[str, dict[str, tuple[float, float]]] = {}
    for number, path in enumerate(list_images(photographs)[:references]):
        random = np.random.default_rng([seed, number])
        # The networks see 16 pixels more on each side than anybody else.
        whole = _crop(read_rgb(path), side + 32, random)
        source = Source(path.stem, whole, degrade(whole, SCALE), (side + 32, side + 32))
        inside = (..., slice(16, -16), slice(16, -16))
        reference = whole[inside]
        write_image(folder / "references" / f"{path.stem}.png", from_tensor(reference[0]))
        found = {level: (image[inside], strength) for level, image, strength in _versions(source)}
        for name, upscaler in upscalers.items():
            made = round_to_8_bits(upscaler.upscale(source.lr).clamp(0, 1))
            found[f"sr_{name}"] = (made[inside], _NETWORK)
        for level, (image, _) in found.items():
            write_image(folder / "versions" / f"{path.stem}_{level}.png", from_tensor(image[0]))
        images = torch.cat([image for image, _ in found.values()])
        apart = distance.score(images, reference.expand_as(images)).tolist()
        hidden[path.stem] = {
            level: (lpips, strength)
            for lpips, (level, (_, strength)) in zip(apart, found.items(), strict=True)
        }
    atomic.write_text(folder / "votes.csv", _votes(_qualities(hidden, seed), votes, seed))
    config = VotesConfig(
        references=folder / "references",
        distorted=folder / "versions",
        votes=folder / "votes.csv",
        rating=EloRating(method="elo"),
        output=dataset,
        val=0.05,
        test=0.25,
        seed=seed,
    )
    build_from_judgements(config)
    return dataset


def _versions(source: Source) -> Iterator[tuple[str, Tensor, float]]:
    """Name, image and strength of each distortion."""
    for kind, strengths in STRENGTHS.items():
        for step, strength in enumerate(strengths, start=1):
            level = f"{kind}_{step}"
            made = distorting(level, Distortion(kind, strength, None), seed=0).make(source, {})
            yield level, made, step / 4
    height, width = source.hr.shape[-2:]
    for step, share in enumerate(SHRUNK, start=1):
        small = imresize_uint8(source.hr, size=(round(share * height), round(share * width)))
        yield f"shrunk_{step}", imresize_uint8(small, size=(height, width)), step / 4


def _qualities(
    hidden: Mapping[str, Mapping[str, tuple[float, float]]], seed: int
) -> dict[str, dict[str, float]]:
    """In Elo points, by reference and version."""
    random = np.random.default_rng([seed, 1])
    facts = np.array([values for levels in hidden.values() for values in levels.values()])
    (lpips, strength), deviations = facts.mean(0), facts.std(0)
    return {
        name: {
            f"{name}_{level}": _MEAN
            - _SPREAD
            * (
                _LPIPS_SHARE * (apart - lpips) / deviations[0]
                + (1 - _LPIPS_SHARE) * (strong - strength) / deviations[1]
            )
            + random.normal(0, _OF_IMAGE)
            for level, (apart, strong) in levels.items()
        }
        for name, levels in hidden.items()
    }


def _votes(qualities: Mapping[str, Mapping[str, float]], each: int, seed: int) -> str:
    """The CSV file of all judgements."""
    random = np.random.default_rng([seed, 2])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["left", "right", "winner"])
    for items in qualities.values():
        names = list(items)
        for _ in range(each * len(names) // 2):
            left, right = random.choice(len(names), 2, replace=False)
            seen = [items[names[at]] + random.normal(0, _OF_JUDGE) for at in (left, right)]
            winner = left if random.random() < win_probability(*seen) else right
            writer.writerow([names[left], names[right], names[winner]])
    return text.getvalue()


def _crop(image: Tensor, side: int, random: np.random.Generator) -> Tensor:
    height, width = image.shape[-2:]
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    return image[..., top : top + side, left : left + side]
