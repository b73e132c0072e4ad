"""NTIRE's evaluation of a quality metric against people's opinions.

Over all images together (not reference by reference): SRCC, PLCC after a cubic fit, and their sum,
the main score; KRCC and the share of pairs in the right order beside them. Then the same over
restoration algorithms, each represented by the means of its images (figure 4 of the report):

J. Gu, H. Cai, C. Dong, J. S. Ren, Y. Qiao, S. Gu, R. Timofte et al., "NTIRE 2021 challenge on
perceptual image quality assessment", CVPR Workshops 2021.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from statistics import mean

from ranksrgan.contracts.errors import InvalidDataset, UndefinedScore
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics.correlation import krocc, pair_accuracy, plcc, srocc
from ranksrgan.metrics.score_table import in_lower_case, read_column, read_scores

# A0001_04_12: the distortion 12 of the category 4 of the reference A0001.
_PIPAL = re.compile(r"[A-Z]\d+_(\d+_\d+)")

# 25 references by 66 algorithms. On other images the figures of the challenge do not compare.
_TEST_IMAGES = 1650


@dataclass(frozen=True)
class Agreement:
    """How well predictions agree with the truth.

    Attributes:
        count: of the points compared; few points agree by chance (see `plcc`).
        srcc, plcc, krcc: absolute values, 0 to 1; PLCC after a cubic fit.
        pair_accuracy: share of pairs in the right order, that order turned if ``inverse``.
        inverse: the prediction falls as the truth rises, as that of NIQE should.
    """

    count: int
    srcc: float
    plcc: float
    krcc: float
    pair_accuracy: float
    inverse: bool

    @property
    def main(self) -> float:
        """NTIRE's main score, 0 to 2."""
        return self.srcc + self.plcc


@dataclass(frozen=True)
class Algorithm:
    """One restoration algorithm, or one distortion: the means over its images."""

    name: str
    images: int
    predicted: float
    mos: float


@dataclass(frozen=True)
class Evaluation:
    """What the protocol finds.

    Attributes:
        images: over all images.
        algorithms: in the order of their names; empty if it is not known which image is whose.
        per_algorithm: over the means of the algorithms; None if there are fewer than two, or if
            these means say nothing.
        note: why ``per_algorithm`` is None though there are algorithms; empty otherwise.
    """

    images: Agreement
    algorithms: tuple[Algorithm, ...] = ()
    per_algorithm: Agreement | None = None
    note: str = ""


def agreement(predicted: Sequence[float], truth: Sequence[float]) -> Agreement:
    """All figures of `Agreement` at once.

    Raises:
        InvalidInput, UndefinedScore: as in `ranksrgan.metrics.correlation`.
    """
    srcc = srocc(predicted, truth)
    aligned = [-value for value in predicted] if srcc < 0 else predicted
    return Agreement(
        count=len(truth),
        srcc=abs(srcc),
        plcc=plcc(predicted, truth, fit="cubic"),
        krcc=abs(krocc(predicted, truth)),
        pair_accuracy=pair_accuracy(aligned, truth),
        inverse=srcc < 0,
    )


def evaluate(
    predictions: Mapping[str, float],
    mos: Mapping[str, float],
    algorithm_of: Mapping[str, str] | None = None,
) -> Evaluation:
    """Evaluate predictions against mean opinion scores.

    Args:
        predictions: by image, finite.
        mos: by image, finite, of the same images; higher is better.
        algorithm_of: which algorithm made each image; None reads it from PIPAL's names
            (`pipal_algorithm`), if all of them are such.

    Raises:
        InvalidDataset: an image without a prediction, a MOS or an algorithm; the message names it.
        InvalidInput: fewer than two images.
        UndefinedScore: all predictions, or all opinions, are equal.
    """
    _require_all(mos, predictions, "a MOS but no prediction")
    _require_all(predictions, mos, "a prediction but no MOS")
    images = agreement([predictions[name] for name in mos], list(mos.values()))
    if algorithm_of is None:
        algorithm_of = {name: key for name in mos if (key := pipal_algorithm(name))}
        if len(algorithm_of) < len(mos):
            return Evaluation(images)
    _require_all(mos, algorithm_of, "a MOS but no algorithm")
    members: dict[str, list[str]] = {}
    for name in mos:
        members.setdefault(algorithm_of[name], []).append(name)
    algorithms = tuple(
        Algorithm(
            algorithm,
            len(names),
            mean(predictions[name] for name in names),
            mean(mos[name] for name in names),
        )
        for algorithm, names in sorted(members.items())
    )
    if len(algorithms) < 2:
        return Evaluation(images, algorithms, note="there is one algorithm alone")
    try:
        means = agreement([one.predicted for one in algorithms], [one.mos for one in algorithms])
    except UndefinedScore as error:  # costs nothing of what the images say
        note = f"nothing can be said over the means of {len(algorithms)} algorithms: {error}"
        return Evaluation(images, algorithms, note=note)
    return Evaluation(images, algorithms, means)


def evaluate_files(
    predictions: Path,
    mos: Path,
    *,
    column: str | None = None,
    mos_column: str | None = None,
    algorithm_column: str | None = None,
) -> Evaluation:
    """`evaluate` on files, as `read_scores` reads them.

    Args:
        predictions: a CSV file (``ranksrgan-metrics score --format csv`` writes such), a file of
            NTIRE's submission form, or a folder of them.
        mos: likewise, or PIPAL's folder of labels, or TID2013's ``mos_with_names.txt``.
        column, mos_column: which column holds the scores; None if only one holds numbers.
        algorithm_column: of the file of opinions, names the algorithm of each image; None reads it
            from PIPAL's names.

    Raises:
        InvalidDataset: a file is not such a table, or what `evaluate` raises.
        InvalidInput, UndefinedScore: as in `evaluate`; of equal values the message names the file.
    """
    algorithm_of = None if algorithm_column is None else read_column(mos, algorithm_column)
    predicted, opinions = read_scores(predictions, column), read_scores(mos, mos_column)
    _require_several(predictions, column, predicted)
    _require_several(mos, mos_column, opinions)
    if in_lower_case(mos):
        lower = {name.lower(): score for name, score in predicted.items()}
        if len(lower) < len(predicted):
            raise InvalidDataset(
                f"{predictions}: two images of one name that differ in upper and lower case only, "
                f"which {mos} does not tell apart",
                field=str(predictions),
            )
        predicted = lower
    return evaluate(predicted, opinions, algorithm_of)


def pipal_algorithm(name: str) -> str | None:
    """``04_12`` of PIPAL's ``A0001_04_12``, which is one algorithm or distortion; else None."""
    match = _PIPAL.fullmatch(name)
    return match[1] if match else None


@dataclass(frozen=True)
class Entry:
    """A line of the challenge's table 1; None where nothing was reported.

    Attributes:
        rank: of a participant; None for a baseline.
        team: or the name of the baseline.
    """

    rank: int | None
    team: str
    author: str
    main: float
    pipal_srcc: float
    pipal_plcc: float
    tid2013_srcc: float | None
    tid2013_plcc: float | None
    live_srcc: float | None
    live_plcc: float | None


@lru_cache(maxsize=1)
def ntire2021() -> tuple[Entry, ...]:
    """Table 1 of the challenge's report: 13 participants, then 8 baselines."""
    text = (resources.files("ranksrgan.metrics") / "params" / "ntire2021.csv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Entry(
            int(row["rank"]) if row["rank"] else None,
            row["team"],
            row["author"],
            float(row["main"]),
            float(row["pipal_srcc"]),
            float(row["pipal_plcc"]),
            *(
                float(row[column]) if row[column] else None
                for column in ("tid2013_srcc", "tid2013_plcc", "live_srcc", "live_plcc")
            ),
        )
        for row in csv.DictReader(lines)
    )


def as_table(evaluation: Evaluation) -> str:
    """Aligned columns; of as many images as the challenge had, also the place in its table."""
    lines = [f"{'':<12}{'count':>6}{'SRCC':>9}{'PLCC':>9}{'KRCC':>9}{'pairs':>9}{'main':>9}"]
    for label, found in _rows(evaluation):
        figures = (found.srcc, found.plcc, found.krcc, found.pair_accuracy, found.main)
        lines.append(f"{label:<12}{found.count:>6}" + "".join(f"{x:>9.4f}" for x in figures))
    if evaluation.images.inverse:
        lines.append("the prediction falls as the MOS rises")
    if evaluation.note:
        lines.append(evaluation.note)
    if evaluation.images.count == _TEST_IMAGES:
        lines.append(_standing(evaluation.images))
    return "\n".join(lines) + "\n"


def as_json(evaluation: Evaluation) -> str:
    """``{"images": {...}, "per_algorithm": {...} or null, "algorithms": [...], "note": "..."}``."""
    document = {
        "images": _as_dict(evaluation.images),
        "per_algorithm": evaluation.per_algorithm and _as_dict(evaluation.per_algorithm),
        "algorithms": [asdict(one) for one in evaluation.algorithms],
        "note": evaluation.note,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(evaluation: Evaluation) -> str:
    """A header, a line over images and, where there are algorithms, one over these."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [(label, _as_dict(found)) for label, found in _rows(evaluation)]
    writer.writerow(["over", *rows[0][1]])
    for label, figures in rows:
        writer.writerow([label, *figures.values()])
    return text.getvalue()


FORMATS: dict[str, Callable[[Evaluation], str]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
}


def _require_all(wanted: Mapping[str, object], given: Mapping[str, object], lack: str) -> None:
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InvalidDataset(
            f"{len(missing)} of {len(wanted)} images have {lack}: {some_names(missing)}",
            field=missing[0],
        )


def _require_several(path: Path, column: str | None, scores: Mapping[str, float]) -> None:
    values = list(scores.values())
    if len(values) > 1 and len(set(values)) == 1:
        of = f" of the column {column!r}" if column else ""
        raise UndefinedScore(
            f"{path}: all {len(values)} values{of} are {values[0]:g}, and correlate with nothing",
            field=str(path),
        )


def _rows(evaluation: Evaluation) -> list[tuple[str, Agreement]]:
    rows = [("images", evaluation.images)]
    if evaluation.per_algorithm is not None:
        rows.append(("algorithms", evaluation.per_algorithm))
    return rows


def _as_dict(found: Agreement) -> dict[str, float]:
    return {**asdict(found), "main": found.main}


def _standing(found: Agreement) -> str:
    entries = sorted(ntire2021(), key=lambda entry: -entry.main)
    above = [entry for entry in entries if entry.main > found.main]
    below = entries[len(above) :]
    neighbours = [f"below {above[-1].team} ({above[-1].main:.4f})"] if above else []
    neighbours += [f"above {below[0].team} ({below[0].main:.4f})"] if below else []
    return f"in table 1 of NTIRE 2021, if these are its test images: {', '.join(neighbours)}"
