from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ranksrgan.pipeline.reproduction.columns import RANKER_COLUMNS, RANKER_GROUP
from ranksrgan.pipeline.reproduction.conclude import conclude
from ranksrgan.pipeline.reproduction.config import Experiment, load_scale
from ranksrgan.pipeline.reproduction.findings import Findings, read_findings, write_findings
from ranksrgan.pipeline.reproduction.page import write_page
from ranksrgan.pipeline.reproduction.plan import Plan
from ranksrgan.pipeline.reproduction.units import Unit

INFINITE = float("inf")


def finished(kind: Any, config: dict[str, Any], result: dict[str, Any], runs: Path) -> Unit:
    unit = Unit(kind, kind, config, {}, ())
    (unit.prepare(runs) / "done.json").write_text(json.dumps({"result": result}))
    return unit


def conclude_from(truth: list[list[float | None]], tiny_scale: Path, folder: Path) -> Findings:
    """Of an experiment that is nothing but a Ranker, which is judged on PSNR."""
    experiment = Experiment.model_validate(
        {
            "title": "T",
            "claim": "C",
            "rank_data": {"psnr": {"metric": "psnr?border=4"}},
            "rankers": {"P": {"rank_data": "psnr"}},
            "ranker_rows": True,
            "verdicts": [
                {"method": "P", "column": "SROCC", "at_most": 1, "groups": [RANKER_GROUP]},
            ],
        }
    )
    plan, runs = Plan("t", experiment, (0,)), folder / "runs"
    judged = {
        "metric": "psnr?border=4",
        "levels": ["hr", "srgan"],
        "evaluation": dict.fromkeys(RANKER_COLUMNS, 0.5),
        "truth": truth,
        "predicted": [[0.1, 0.5], [0.2, 0.9]],
    }
    plan.judgements["P", 0] = finished("judgement", {"data": "d"}, judged, runs)
    plan.references["ground truth"] = finished("evaluation", {}, {"sets": {}}, runs)
    scale = load_scale(folder, str(tiny_scale)).model_copy(update={"pictures": {}})
    return conclude(plan, "tiny", scale, None, runs, folder)


def test_charts_are_of_finite_values_and_a_note_counts_the_others(
    tiny_scale: Path, tmp_path: Path
) -> None:
    found = conclude_from([[INFINITE, 24.0], [INFINITE, 26.0]], tiny_scale, tmp_path)
    of_metric, of_ranker = found.histograms
    assert (of_metric.edges[0], of_metric.edges[-1]) == pytest.approx((24, 26))
    assert [sum(level.counts) for level in of_metric.levels] == [0, 2]
    assert [sum(level.counts) for level in of_ranker.levels] == [2, 2]
    (scatter,) = found.scatters
    assert (scatter.x, scatter.y, scatter.groups) == ((24, 26), (0.5, 0.9), ("srgan", "srgan"))
    assert (
        "Charts leave out 2 of 4 held-out versions, whose psnr?border=4 is infinite or undefined."
    ) in found.notes
    assert read_findings(write_findings(tmp_path, found).parent) == found


def test_charts_without_any_finite_value_are_left_out(tiny_scale: Path, tmp_path: Path) -> None:
    found = conclude_from([[INFINITE, None], [INFINITE, INFINITE]], tiny_scale, tmp_path)
    assert [histogram.score for histogram in found.histograms] == ["Ranker P"]
    assert found.scatters == ()
    assert any(note.startswith("Charts leave out 4 of 4") for note in found.notes)
    write_page(found, tmp_path / "report.html")
