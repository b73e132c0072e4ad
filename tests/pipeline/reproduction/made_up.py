"""Findings that no experiment made, small enough to see through."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.pipeline.reproduction.findings import (
    Cell,
    Column,
    Crop,
    Curve,
    Findings,
    Histogram,
    ImageRow,
    LevelCounts,
    Row,
    Scatter,
    Table,
    Verdict,
)

COLUMNS = (Column("PSNR", True, 2, "dB"), Column("NIQE", False, 3), Column("time", None, 0, "ms"))
METHODS = ("SRGAN", "RankSRGAN", "ground truth")


def make_findings(folder: Path) -> Findings:
    """Everything that a page shows, with the files of its crops."""
    crops = []
    for image in ("cat", "cup"):
        for number, method in enumerate(METHODS):
            noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            write_image(folder / "crops" / f"{image}-{number}.png", Picture(noise))
            scores = {"NIQE": 4.0 - number}
            crops.append(Crop("Set2", image, method, None, f"crops/{image}-{number}.png", scores))
    return Findings(
        name="trial",
        title="A trial",
        claim="One is better.",
        scale="small",
        seeds=(0, 1),
        verdicts=(Verdict("It is.", "held"), Verdict("By little.", "undecided")),
        table=Table(
            COLUMNS,
            (
                Row("Set2", "SRGAN", (Cell(27.514, 0.25, 2), Cell(4.1, 0.04, 2), Cell(152))),
                Row("Set2", "RankSRGAN", (Cell(27.506, 0.125, 2), Cell(3.4, None, 1), Cell(171))),
                Row("Set2", "ground truth", (Cell(None), Cell(3.0), Cell(None)), reference=True),
            ),
        ),
        notes=("Two seeds.",),
        curves=(
            Curve("NIQE", "RankSRGAN", 0, False, (0, 100, 200), (4.0, 3.0, 2.0), False),
            Curve("NIQE", "RankSRGAN", 1, False, (0, 100), (4.0, 3.5), False),
            Curve("NIQE", "SRGAN", 0, True, (0, 100), (4.0, 4.0), False),
        ),
        histograms=(
            Histogram(
                "Scores",
                "score",
                (0.0, 1.0, 2.0, 4.0),
                (LevelCounts("SRGAN", (2, 0, 8)), LevelCounts("ESRGAN", (4, 4, 0))),
            ),
        ),
        scatters=(
            Scatter(
                *("Ranker", "NIQE", "score"), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0), ("a", "a", "b"), 1.0
            ),
        ),
        crops=tuple(crops),
        images=(
            ImageRow("Set2", "img10", "SRGAN", 0, {"PSNR": 27.0, "NIQE": 4.0}),
            ImageRow("Set2", "img9", "SRGAN", 0, {"PSNR": 9.5, "NIQE": None}),
            ImageRow("Set2", "img9", "RankSRGAN", 1, {"PSNR": 100.25, "NIQE": 3.123456}),
        ),
    )
