"""From the results of an experiment's units to its findings: table, answers, curves, pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import read_image, write_image
from ranksrgan.pipeline.crops import crop_picture, sharpest_box
from ranksrgan.pipeline.reproduction.columns import (
    EXTRA_COLUMNS,
    JUDGE_COLUMN,
    PICTURE_COLUMNS,
    RANKER_COLUMNS,
    RANKER_GROUP,
    STEP_COLUMNS,
    STEP_GROUP,
)
from ranksrgan.pipeline.reproduction.config import BOUND, GROUND_TRUTH, Scale
from ranksrgan.pipeline.reproduction.figures import (
    Pictures,
    Series,
    gap_notes,
    picture_figures,
    pictures_of,
    seed_note,
    series_of,
)
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
)
from ranksrgan.pipeline.reproduction.plan import JUDGE, Plan, is_network_file
from ranksrgan.pipeline.reproduction.verdicts import Figure, judge
from ranksrgan.pipeline.reproduction.work import PICTURES

CROP = 128
BINS = 24
CROPS = "crops"


def conclude(
    plan: Plan, scale_name: str, scale: Scale, start: str | None, runs: Path, folder: Path
) -> Findings:
    """What an experiment found.

    Args:
        plan: all of its units are finished.
        scale_name: of the scale, with what was changed of it.
        scale: see there.
        start: what the SRGAN goes on from; None: from an SRResNet that was trained.
        runs: the units' folders.
        folder: takes the crops.

    Raises:
        InvalidConfig: a verdict names a row or column that there is not.
        InvalidInput: a unit is not finished, or its result is damaged.
    """
    experiment = plan.experiment
    columns = _columns(plan)
    pictures = list(pictures_of(plan, runs))
    series = series_of(plan, pictures, runs)
    figures = {
        **picture_figures(series),
        **_ranker_figures(plan, runs),
        **_step_figures(plan, runs),
    }
    return Findings(
        name=plan.name,
        title=experiment.title,
        claim=experiment.claim,
        scale=scale_name,
        seeds=plan.seeds,
        verdicts=judge(experiment.verdicts, figures, list(columns.values())),
        table=_table(plan, scale, columns, figures),
        notes=(
            *experiment.notes,
            *_notes(plan, scale, start, series, runs),
            *seed_note(figures),
        ),
        curves=tuple(_curves(plan, runs)),
        histograms=tuple(_histograms(plan, runs)),
        scatters=tuple(_scatters(plan, runs)),
        crops=tuple(_crops(plan, scale, pictures, runs, folder)),
        images=tuple(_image_rows(plan, pictures)),
    )


def _columns(plan: Plan) -> dict[str, Column]:
    """Those of the table, by the names that results have."""
    experiment = plan.experiment
    unknown = sorted(set(experiment.extra_columns) - set(EXTRA_COLUMNS))
    if unknown:
        raise InvalidConfig(
            f"extra_columns: {unknown[0]!r} is none of {', '.join(EXTRA_COLUMNS)}",
            field="extra_columns",
        )
    return {
        **(RANKER_COLUMNS if experiment.ranker_rows else {}),
        **(STEP_COLUMNS if experiment.step_time else {}),
        **PICTURE_COLUMNS,
        **{name: EXTRA_COLUMNS[name] for name in experiment.extra_columns},
        **({"judge": JUDGE_COLUMN} if experiment.judge else {}),
    }


_Figures = dict[tuple[str, str, str], Figure]


def _ranker_figures(plan: Plan, runs: Path) -> _Figures:
    if not plan.experiment.ranker_rows:
        return {}
    figures: _Figures = {}
    for name in plan.experiment.rankers:
        found = [plan.judgements[name, seed].result(runs)["evaluation"] for seed in plan.seeds]
        for key, column in RANKER_COLUMNS.items():
            values = tuple(each[key] for each in found if each[key] is not None)
            pairs = zip(plan.seeds, found, strict=True)
            without = tuple(seed for seed, each in pairs if each[key] is None)
            figures[RANKER_GROUP, name, column.name] = Figure(values, without=without)
    return figures


def _step_figures(plan: Plan, runs: Path) -> _Figures:
    if plan.step_time is None:
        return {}
    result = plan.step_time.result(runs)
    seconds, control = result["seconds"], result["control"]
    figures = {}
    for name, values in seconds.items():
        ratios = tuple(one / other for one, other in zip(values, seconds[control], strict=True))
        in_ms = tuple(1000 * value for value in values)
        figures[STEP_GROUP, name, STEP_COLUMNS["milliseconds"].name] = Figure(in_ms)
        figures[STEP_GROUP, name, STEP_COLUMNS["ratio"].name] = Figure(ratios)
    return figures


def _table(
    plan: Plan, scale: Scale, columns: Mapping[str, Column], figures: Mapping[Any, Figure]
) -> Table:
    """Groups in the order of the claim: Rankers and steps first, then the test sets."""
    experiment = plan.experiment
    groups: dict[str, list[str]] = {}
    if experiment.ranker_rows:
        groups[RANKER_GROUP] = list(experiment.rankers)
    if plan.step_time is not None:
        groups[STEP_GROUP] = list(experiment.methods)
    references = [name for name in plan.references if name != GROUND_TRUTH]
    bound = [BOUND] if plan.bounds else []
    trained = [name for name, method in experiment.methods.items() if method.trained]
    for test_set in scale.test_sets:
        groups[test_set] = [*references, *bound, *trained, GROUND_TRUTH]
    rows = []
    for group, methods in groups.items():
        for method in methods:
            found = [figures.get((group, method, column.name)) for column in columns.values()]
            cells = tuple(Cell(None, count=0) if one is None else one.cell for one in found)
            rows.append(Row(group, method, cells, reference=method in (BOUND, GROUND_TRUTH)))
    return Table(tuple(columns.values()), tuple(rows))


def _notes(
    plan: Plan, scale: Scale, start: str | None, series: Sequence[Series], runs: Path
) -> Iterator[str]:
    yield scale.about
    if scale.content is None:
        yield "There is no content loss on features here."
    elif scale.content == "vgg19":
        yield "The content loss compares features of VGG19 (conv5_4), as in the paper."
    elif is_network_file(scale.content):
        yield f"The content loss compares features of the network in {Path(scale.content).name}."
    else:
        yield (
            f"The content loss compares features of {scale.content}, not of VGG19 as in the paper; "
            "the key content of the scale takes vgg19 or the path of any such network."
        )
    steps = scale.steps
    before = f"follows {steps.initial} of SRResNet" if start is None else f"goes on from {start}"
    rankers = f"each Ranker {scale.ranker.steps}"
    if scale.vgg is not None:
        widths = [setting for setting in scale.vgg.settings if setting.startswith("width=")]
        of_width = f" ({', '.join(widths)}; 64 in the paper)" if widths else ""
        rankers += f", those of the paper's architecture{of_width} {scale.vgg.steps}"
    yield (
        f"Steps: the SRGAN that all methods start from {steps.pretrained} ({before}), each method "
        f"{steps.generator}, {rankers}."
    )
    yield (
        f"Means and sample standard deviations over {len(plan.seeds)} seeds "
        f"({', '.join(map(str, plan.seeds))}). The weights after the last step are judged, none "
        "was chosen by test images. PSNR, SSIM, NIQE and LPIPS are without a border of 4 pixels."
    )
    if plan.experiment.judge is not None:
        yield (
            f"The column {JUDGE_COLUMN.name} is the score of Ranker {plan.experiment.judge}, of "
            "each method's own seed; it has no unit, and Rankers of other seeds have other scales."
        )
    yield from gap_notes(series)
    yield from dict.fromkeys(_chart_notes(plan, runs))  # Rankers share the metric of their crops
    lpips = PICTURE_COLUMNS["lpips"].name
    if not any(one.scores for one in series if one.column == lpips):
        yield "LPIPS is missing: its networks were not among the data."
    if plan.step_time is not None:
        device = plan.step_time.result(runs)["device"]
        yield f"Step times are of rounds that alternate between the methods, on {device}."


def _curves(plan: Plan, runs: Path) -> Iterator[Curve]:
    for (name, seed), unit in plan.methods.items():
        rows = read_curve(runs / unit.name / "validation.csv")
        for key, column in PICTURE_COLUMNS.items():
            points = [(float(row["step"]), float(row[key])) for row in rows if row.get(key)]
            if points:
                steps, values = zip(*points, strict=True)
                control = plan.experiment.methods[name].control
                better = column.higher_is_better
                yield Curve(column.name, name, seed, control, steps, values, better)


def _judged(plan: Plan) -> list[str]:
    return [name for name, ranker in plan.experiment.rankers.items() if ranker.judged]


def _histograms(plan: Plan, runs: Path) -> Iterator[Histogram]:
    """Of the metrics that Rankers are judged by, and of the Rankers, first seed."""
    shown: set[str] = set()
    for name in _judged(plan):
        unit = plan.judgements[name, plan.seeds[0]]
        result, data = unit.result(runs), str(unit.config["data"])
        metric = result["metric"]
        if data not in shown:
            shown.add(data)
            yield from _histogram(f"{metric} of held-out crops", metric, result, "truth")
        title = f"Ranker {name} on held-out crops"
        yield from _histogram(title, f"Ranker {name}", result, "predicted")


def _histogram(title: str, score: str, result: Mapping[str, Any], key: str) -> Iterator[Histogram]:
    """None where no value is finite: an original has no finite PSNR, which no bin would hold."""
    levels = [[v for v in level if _is_finite(v)] for level in zip(*result[key], strict=True)]
    values = [value for level in levels for value in level]
    if not values:
        return
    low, high = min(values), max(values)
    width = (high - low) / BINS or 1.0
    counts = []
    for name, level in zip(result["levels"], levels, strict=True):
        places = [min(int((v - low) / width), BINS - 1) for v in level]
        counts.append(LevelCounts(name, tuple(places.count(place) for place in range(BINS))))
    edges = tuple(low + width * number for number in range(BINS + 1))
    yield Histogram(title, score, edges, tuple(counts))


def _scatters(plan: Plan, runs: Path) -> Iterator[Scatter]:
    for name in _judged(plan):
        result = plan.judgements[name, plan.seeds[0]].result(runs)
        points = [
            (x, y, level)
            for truth, predicted in zip(result["truth"], result["predicted"], strict=True)
            for x, y, level in zip(truth, predicted, result["levels"], strict=True)
            if _is_finite(x) and _is_finite(y)
        ]
        if not points:
            continue
        x, y, levels = zip(*points, strict=True)
        title = f"Ranker {name}, seed {plan.seeds[0]}, on held-out crops"
        srocc = result["evaluation"]["srocc"]
        yield Scatter(title, result["metric"], f"Ranker {name}", x, y, levels, srocc)


def _chart_notes(plan: Plan, runs: Path) -> Iterator[str]:
    """How many values the charts of Rankers leave out."""
    for name in _judged(plan):
        result = plan.judgements[name, plan.seeds[0]].result(runs)
        for key, what in (("truth", result["metric"]), ("predicted", f"score of Ranker {name}")):
            values = [value for row in result[key] for value in row]
            if left_out := sum(not _is_finite(value) for value in values):
                yield (
                    f"Charts leave out {left_out} of {len(values)} held-out versions, whose {what} "
                    "is infinite or undefined."
                )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _crops(
    plan: Plan, scale: Scale, pictures: Sequence[Pictures], runs: Path, folder: Path
) -> Iterator[Crop]:
    """The same detail of every method and of the original, first seed."""
    truth = runs / plan.references[GROUND_TRUTH].name / PICTURES
    first = [at for at in pictures if at.seed in (None, plan.seeds[0])]
    first.sort(key=lambda at: at.method == GROUND_TRUTH)  # the original comes last
    for test_set, images in scale.pictures.items():
        for image in images:
            original = read_image(truth / test_set / f"{image}.png")
            side = min(CROP, original.width, original.height)
            box = sharpest_box(original, side)
            for at in (at for at in first if at.test_set == test_set):
                picture = read_image(runs / at.unit.name / PICTURES / test_set / f"{image}.png")
                name = f"{test_set}-{image}-{_slug(at.method)}.png"
                write_image(folder / CROPS / name, crop_picture(picture, box, side))
                row = next(row for row in at.rows if row["image"] == image)
                scores = _named_scores(plan, at, row)
                yield Crop(test_set, image, at.method, at.seed, f"{CROPS}/{name}", scores)


def _image_rows(plan: Plan, pictures: Sequence[Pictures]) -> Iterator[ImageRow]:
    for at in pictures:
        for row in at.rows:
            scores = _named_scores(plan, at, row)
            yield ImageRow(at.test_set, row["image"], at.method, at.seed, scores)


def _named_scores(plan: Plan, at: Pictures, row: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores of an image by the names of columns; a reference's judge is the first seed's."""
    scores: Mapping[str, float | None] = row["scores"]
    wanted = {**PICTURE_COLUMNS, **{n: EXTRA_COLUMNS[n] for n in plan.experiment.extra_columns}}
    named = {column.name: scores[name] for name, column in wanted.items() if name in scores}
    judged = f"{JUDGE}{plan.seeds[0] if at.seed is None else at.seed}"
    return named | ({JUDGE_COLUMN.name: scores[judged]} if judged in scores else {})


def _slug(method: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in method.lower())
