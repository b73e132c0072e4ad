from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import list_images, read_image
from ranksrgan.pipeline.cli import main
from ranksrgan.pipeline.reproduction.config import load_experiment, load_scale
from ranksrgan.pipeline.reproduction.findings import Findings, read_findings
from ranksrgan.pipeline.reproduction.plan import Plan, Planner
from ranksrgan.pipeline.reproduction.reproduce import Request, given_unit, reproduce
from ranksrgan.pipeline.reproduction.schedule import Outcome
from ranksrgan.pipeline.reproduction.units import Unit, Units
from ranksrgan.pipeline.reproduction.work import do_unit
from ranksrgan.rankdata import RankDataset
from tests.pipeline.reproduction.made_up import make_findings

MODELS = ("fast_srgan", "srgan", "imdn")
EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def said(line: str) -> None:
    pass


def test_a_claim_from_photographs_to_page(
    tiny_data: Path, tiny_scale: Path, tmp_path: Path, in_this_process: list[str]
) -> None:
    request = Request(
        names=("fig3_4",),
        experiments=EXPERIMENTS,
        scale=str(tiny_scale),
        seeds=(0, 1),
        data=tiny_data,
        output=tmp_path,
    )
    done = reproduce(request, said)
    found = done.findings["fig3_4"]
    assert read_findings(tmp_path / "fig3_4") == found
    assert (found.scale, found.seeds) == ("tiny", (0, 1))
    assert not done.failed
    assert not done.stopped

    # The table's figures are those of the images, over the seeds.
    niqe = [column.name for column in found.table.columns].index("NIQE")
    rows = {(row.group, row.method): row.cells[niqe] for row in found.table.rows}
    per_seed = [
        fmean(
            score
            for row in found.images
            if (row.test_set, row.method, row.seed) == key
            if (score := row.scores["NIQE"]) is not None
        )
        for key in (("Set14", "RankSRGAN-MR", 0), ("Set14", "RankSRGAN-MR", 1))
    ]
    cell = rows["Set14", "RankSRGAN-MR"]
    assert cell.mean == pytest.approx(fmean(per_seed))
    assert cell.spread == pytest.approx(stdev(per_seed))
    teachers = [rows["Set14", name].mean for name in ("srgan", "fast_srgan")]
    assert rows["Set14", "upper bound"].mean == pytest.approx(min(teachers))  # of one image
    assert rows["Set14", "ground truth"].mean is not None
    assert rows["Set14", "ground truth"].spread is None

    # Both seeds and the control have curves; every method has its crop.
    curves = {(curve.method, curve.seed, curve.control) for curve in found.curves}
    assert ("SRGAN", 1, True) in curves
    assert ("RankSRGAN-MC", 0, False) in curves
    assert {crop.method for crop in found.crops} == {
        "srgan",
        "fast_srgan",
        "SRGAN",
        "RankSRGAN-MC",
        "RankSRGAN-MR",
        "RankSRGAN-MR, published weight",
        "ground truth",
    }
    for crop in found.crops:
        picture = read_image(tmp_path / "fig3_4" / crop.path)
        assert (picture.width, picture.height) == (128, 128)
    assert "There is no content loss on features here." in found.notes
    assert [len(histogram.levels) for histogram in found.histograms] == [3, 3, 3]
    page = (tmp_path / "fig3_4" / "report.html").read_text()
    assert "can pass the upper bound of both its teachers" in page
    lines = (tmp_path / "fig3_4" / "table.csv").read_text().splitlines()
    table = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert {row["scale"] for row in table} == {"tiny"}
    assert any(line.startswith(f"# {found.verdicts[0].answer}: ") for line in lines)
    # Every version of a crop is in the scatters, whatever a page draws of them.
    assert [set(scatter.groups) for scatter in found.scatters] == 2 * [set(MODELS)]

    # The same pictures, with the methods' order instead of NIQE.
    niqe_set, order_set = (
        RankDataset.open(tmp_path / "runs" / "tiny" / unit.name / "dataset")
        for unit in _rank_data(request)
    )
    assert order_set.contents[0].scores == (1.0, 2.0, 3.0)
    assert niqe_set.contents[0].scores != (1.0, 2.0, 3.0)
    assert order_set.hashes == niqe_set.hashes

    # A second command does nothing anew; another claim does only what is new in it.
    in_this_process.clear()
    assert reproduce(request, said).findings["fig3_4"] == found
    assert in_this_process == []
    cost = replace(request, names=("training_cost",), seeds=(0,))
    steps = reproduce(cost, said).findings["training_cost"]
    new = ["Ranker VGG-12, seed 0", "evaluation of ground truth", "step times"]
    assert sorted(in_this_process) == new
    of_control = next(row for row in steps.table.rows if row.method == "SRGAN")
    ratio = [column.name for column in steps.table.columns].index("step / control's")
    assert of_control.cells[ratio].mean == 1

    # What has no value is an answer.
    _forget(request.runs, "evaluation of RankSRGAN-MC, seed 1", "niqe")
    found = reproduce(request, said).findings["fig3_4"]
    rows = {(row.group, row.method): row.cells[niqe] for row in found.table.rows}
    assert rows["Set14", "RankSRGAN-MR"] == cell
    assert rows["Set14", "RankSRGAN-MC"].count == 1
    assert found.verdicts[1].answer == "undecided"
    assert found.verdicts[1].text.startswith("Set14: NIQE is missing of RankSRGAN-MC (seed 1)")
    assert any("missing 1 of RankSRGAN-MC, seed 1" in note for note in found.notes)


def _forget(runs: Path, label: str, metric: str) -> None:
    for path in runs.glob("*/unit.json"):
        if json.loads(path.read_text())["label"] == label:
            done = json.loads((path.parent / "done.json").read_text())
            for row in (row for rows in done["result"]["sets"].values() for row in rows):
                row["scores"][metric] = None
            (path.parent / "done.json").write_text(json.dumps(done))


def _rank_data(request: Request) -> list[Unit]:
    planner = Planner(load_scale(EXPERIMENTS, request.scale), Units(request.data))
    plan = planner.plan("fig3_4", load_experiment(EXPERIMENTS, "fig3_4"), request.seeds)
    return [plan.rank_data[name] for name in ("niqe", "methods")]


def test_one_experiment_that_fails_at_its_end_costs_no_other_its_table(
    tiny_data: Path,
    tiny_scale: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def all_are_done(units: list[Unit], *_: object, **__: object) -> Outcome:
        return Outcome({unit.name for unit in units})

    def concluded(plan: Plan, *others: object) -> Findings:
        if plan.name == "table3":
            raise InvalidConfig("verdicts: no column 'Ma'")
        return make_findings(tmp_path / plan.name)

    monkeypatch.setattr(f"{reproduce.__module__}.run_units", all_are_done)
    monkeypatch.setattr(f"{reproduce.__module__}.conclude", concluded)
    given = ["--scale", str(tiny_scale), "--data", str(tiny_data), "-o", str(tmp_path)]
    names = ["table3", "table8"]
    assert main(["reproduce", *names, "--experiments", str(EXPERIMENTS), *given]) == 1
    assert capsys.readouterr().err == "error: table3: verdicts: no column 'Ma'\n"
    assert not (tmp_path / "table3" / "table.csv").exists()
    assert (tmp_path / "table8" / "table.csv").is_file()


def test_data_that_was_moved_is_found_again(
    tiny_data: Path, tiny_scale: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = tmp_path / "before", tmp_path / "elsewhere" / "after"
    shutil.copytree(tiny_data, before)
    request = Request(("table8",), EXPERIMENTS, str(tiny_scale), data=after, output=tmp_path)
    units = Units(before)
    Planner(load_scale(EXPERIMENTS, request.scale), units)
    folder = next(iter(units)).prepare(request.runs)
    do_unit(folder, before)
    after.parent.mkdir()
    before.rename(after)
    assert not (folder / "images" / "a.png").exists()

    monkeypatch.setattr(f"{reproduce.__module__}.run_units", lambda *_, **__: Outcome())
    reproduce(request, said)
    links = list_images(folder / "images")
    assert [link.name for link in links] == ["a.png", "b.png"]
    assert [link.resolve().parent for link in links] == 2 * [after / "images" / "train"]


def test_given_weights_are_known_by_their_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pth", tmp_path / "elsewhere" / "other.pth"
    other.parent.mkdir()
    for path in (one, other):
        path.write_bytes(b"weights")
    runs = tmp_path / "runs"
    unit = given_unit(one, Units(tmp_path), runs)
    assert unit.is_finished(runs)
    assert (runs / unit.name / "generator.pth").read_bytes() == b"weights"
    assert given_unit(other, Units(tmp_path), runs).name == unit.name
    other.write_bytes(b"others")
    assert given_unit(other, Units(tmp_path), runs).name != unit.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table9"], "has no experiment 'table9'"),
        (["table3", "--scale", "huge"], "huge is neither a recipe"),
        (["table3", "--seeds", "1", "1"], "seeds: one is given twice"),
        (["table3", "table3"], "experiments: one is given twice"),
        (["table3", "--data", "nowhere"], "nowhere is no folder: --data names"),
        (["table3", "--set", "steps.gan=3"], "steps.gan=3: unknown key"),
        (["table3", "--initial", "nothing.pth"], "nothing.pth is missing"),
        (["table3", "--set", "start=nothing"], "ships no network 'nothing', only ranksrgan, srgan"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    words: list[str],
    message: str,
    tiny_data: Path,
    tiny_scale: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--scale", str(tiny_scale), "--data", str(tiny_data), "-o", str(tmp_path)]
    command = ["reproduce", "--experiments", str(EXPERIMENTS), *given, *words]
    assert main(command) == 1  # of a flag that is given twice the later one counts
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["soon", "0", "-3", "9x"])
def test_a_time_limit_is_a_duration(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reproduce", "table3", f"--time-limit={text}"])
    assert f"{text} is no duration such as 90s, 9m or 1h30m" in capsys.readouterr().err
