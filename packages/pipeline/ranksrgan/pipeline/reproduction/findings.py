"""What an experiment found, as plain data: all that its table and its page are made of.

It is written as ``findings.json`` beside them, so that a page can be drawn again without running
anything. Numbers that do not exist (NIQE of an image that is too small) are None, never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput

FINDINGS_FILE = "findings.json"

Answer = Literal["held", "not held", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What the figures say about one part of the claim.

    Attributes:
        text: one sentence with the figures that decide.
        answer: "undecided" where the seeds' spread, or their number, decides nothing, or where a
            figure is missing.
    """

    text: str
    answer: Answer


@dataclass(frozen=True)
class Column:
    """One column of figures.

    Attributes:
        name: such as "NIQE"; unique in the table.
        higher_is_better: None where neither is, as for a step time's parts or a count.
        digits: behind the point.
        unit: such as "dB"; empty where there is none.
    """

    name: str
    higher_is_better: bool | None
    digits: int
    unit: str = ""


@dataclass(frozen=True)
class Cell:
    """A figure over the seeds.

    Attributes:
        mean: over the seeds; None where there is no figure.
        spread: sample standard deviation over the seeds; None with fewer than two.
        count: of the seeds that have a figure.
    """

    mean: float | None
    spread: float | None = None
    count: int = 1


@dataclass(frozen=True)
class Row:
    """A method on a test set.

    Attributes:
        group: rows of one group stand together under its name ("Set14"); empty: no groups.
        method: such as "RankSRGAN" or "ground truth".
        cells: one for each column of the table.
        reference: stands there to be compared with and competes with nobody, as ground truth does;
            it is never the best.
    """

    group: str
    method: str
    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """The claim's table; rows of a group are consecutive."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Curve:
    """A metric over the steps of one training.

    Attributes:
        metric: such as "NIQE"; curves of one metric belong into one plot.
        method: such as "RankSRGAN".
        seed: of the training.
        control: whether it is what the others are compared with.
        steps: of the checkpoints.
        values: one for each step.
        higher_is_better: of the metric.
    """

    metric: str
    method: str
    seed: int
    control: bool
    steps: tuple[float, ...]
    values: tuple[float, ...]
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class LevelCounts:
    """How many images of a level fall between each two edges of a histogram."""

    level: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Histogram:
    """Scores of the versions of the same contents, by level.

    Attributes:
        title: says what of.
        score: whose scores, the label of the axis ("NIQE").
        edges: of the bins, one more than counts.
        levels: in the order of the rank data.
    """

    title: str
    score: str
    edges: tuple[float, ...]
    levels: tuple[LevelCounts, ...]


@dataclass(frozen=True)
class Scatter:
    """A Ranker's score against the metric that it learnt, one point for each held-out image.

    Attributes:
        title: says which Ranker.
        x_label: the metric.
        y_label: the Ranker.
        x: values of the metric.
        y: scores of the Ranker.
        groups: the level of each point.
        srocc: Spearman's correlation over all points.
    """

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    groups: tuple[str, ...]
    srocc: float | None


@dataclass(frozen=True)
class Crop:
    """A picture of a test image, for looking at side by side.

    Attributes:
        test_set: such as "Set14".
        image: its name; crops of one image show the same place of it.
        method: such as "RankSRGAN"; "ground truth" for the original.
        seed: of the training; None where there is none.
        path: of the PNG, relative to the folder of the findings, with forward slashes.
        scores: of the whole image, by the names of the table's columns.
    """

    test_set: str
    image: str
    method: str
    seed: int | None
    path: str
    scores: dict[str, float | None]


@dataclass(frozen=True)
class ImageRow:
    """The scores of one picture.

    Attributes:
        test_set: such as "Set14".
        image: its name.
        method: such as "RankSRGAN".
        seed: of the training; None where there is none.
        scores: by the names of the table's columns, those that an image has.
    """

    test_set: str
    image: str
    method: str
    seed: int | None
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Findings:
    """Everything about one experiment.

    Attributes:
        name: of the experiment, as on the command line.
        title: of its page.
        claim: of the paper, in words.
        scale: "small", "gpu" or "paper": figures of two scales are never compared.
        seeds: of the trainings.
        verdicts: the answer; the first one is the claim's own.
        table: the figures.
        notes: paragraphs that belong below the table, such as which network's features the content
            loss compares.
        curves: convergence, the control's included.
        histograms: scores of the rank data by level.
        scatters: Rankers against their metrics.
        crops: pictures.
        images: the figures image by image.
    """

    name: str
    title: str
    claim: str
    scale: str
    seeds: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    table: Table
    notes: tuple[str, ...]
    curves: tuple[Curve, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    crops: tuple[Crop, ...] = ()
    images: tuple[ImageRow, ...] = ()


_FINDINGS = TypeAdapter(Findings)


def write_findings(folder: Path, findings: Findings) -> Path:
    """Write ``findings.json`` into ``folder``, whole or not at all, and return its path."""
    path = folder / FINDINGS_FILE
    atomic.write_text(path, _FINDINGS.dump_json(findings, indent=1).decode() + "\n")
    return path


def read_findings(folder: Path) -> Findings:
    """Read what `write_findings` wrote.

    Raises:
        InvalidInput: there is none, or it is damaged or of another version.
    """
    path = folder / FINDINGS_FILE
    try:
        return _FINDINGS.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(
            f"{path} is not there: `ranksrgan reproduce` writes it", field=str(path)
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path}: {place}: {first['msg']}", field=str(path)) from error
