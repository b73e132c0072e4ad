"""Real processes: few units, since each costs a start and a model or two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.pipeline.reproduction.config import load_scale
from ranksrgan.pipeline.reproduction.plan import Planner
from ranksrgan.pipeline.reproduction.schedule import run_units
from ranksrgan.pipeline.reproduction.units import Unit, Units
from ranksrgan.pipeline.reproduction.work import do_unit

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
MANY = 100_000


def said(line: str) -> None:
    pass


def initial_training(data: Path, scale: Path, steps: int) -> list[Unit]:
    units = Units(data)
    Planner(load_scale(EXPERIMENTS, str(scale), [f"steps.initial={steps}"]), units)
    return list(units)[:2]  # the images, and SRResNet


# Threads of OpenMP are started as a process begins, so that another one has to be asked.
EVALUATION = """
import sys
from pathlib import Path
from ranksrgan.pipeline.reproduction.config import load_experiment, load_scale
from ranksrgan.pipeline.reproduction.plan import Planner
from ranksrgan.pipeline.reproduction.schedule import run_units
from ranksrgan.pipeline.reproduction.units import Units

experiments, scale, data, runs = sys.argv[1:]
planner = Planner(load_scale(Path(experiments), scale), Units(Path(data)))
experiment = load_experiment(Path(experiments), "table2")
unit = planner.plan("table2", experiment, (0,)).references["ground truth"]
outcome = run_units(
    [unit], Path(runs), Path(data), jobs=1, environment={}, seconds=None, say=print
)
print(sorted(outcome.finished) == [unit.name])
"""


def test_the_process_of_a_unit_computes_with_several_threads(
    tiny_data: Path, tiny_scale: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", EVALUATION]
    places = [str(place) for place in (EXPERIMENTS, tiny_scale, tiny_data, tmp_path / "runs")]
    done = subprocess.run(
        [*command, *places],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.stdout.endswith("True\n"), done.stderr


def test_a_training_that_is_stopped_goes_on_where_it_stood(
    tiny_data: Path, tiny_scale: Path, tmp_path: Path
) -> None:
    images, training = initial_training(tiny_data, tiny_scale, MANY)
    curve = tmp_path / training.name / "curves.csv"
    lines: list[str] = []

    def has_learnt() -> bool:
        return curve.is_file() and len(curve.read_text().splitlines()) > 1

    def stop_when_it_runs() -> None:
        deadline = time.monotonic() + 120
        while not has_learnt() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_it_runs).start()
    outcome = run_units(
        [images, training],
        tmp_path,
        tiny_data,
        jobs=1,
        environment={},
        seconds=None,
        say=lines.append,
    )
    assert outcome.stopped
    assert outcome.finished == {images.name}
    assert not outcome.failed
    assert lines[-1] == f"stopped   {training.label}"
    log = (tmp_path / training.name / "log.txt").read_text()
    assert "Traceback" not in log
    stood = int(load_weights(tmp_path / training.name / "generator.safetensors").about["step"])
    assert 0 < stood < MANY

    # The same unit, now to end two steps later.
    about = json.loads((tmp_path / training.name / "unit.json").read_text())
    about["config"]["run"]["steps"] = stood + 2
    about["config"]["validation"]["every"] = MANY
    (tmp_path / training.name / "unit.json").write_text(json.dumps(about))
    assert do_unit(tmp_path / training.name, tiny_data) == 0
    assert training.result(tmp_path)["step"] == stood + 2


def test_a_failure_takes_with_it_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    units = Units(tmp_path)
    bad = units.add("images", "bad", {"folders": ["nowhere"]})
    lost = units.add("judgement", "lost", {"ranker": bad.place("x"), "data": "y"})
    good = units.add("images", "good", {"folders": []})
    outcome = run_units(
        [bad, lost, good],
        tmp_path / "runs",
        tmp_path,
        jobs=2,
        environment={},
        seconds=None,
        say=said,
    )
    assert outcome.finished == {good.name}
    assert "nowhere" in outcome.failed[bad.name]
    assert outcome.failed[lost.name] == "lost: needs bad, which failed"
    assert not outcome.stopped


def test_time_that_is_up_starts_nothing(tmp_path: Path) -> None:
    unit = Units(tmp_path).add("images", "images", {"folders": []})
    outcome = run_units([unit], tmp_path, tmp_path, jobs=1, environment={}, seconds=0.0, say=said)
    assert outcome.stopped
    assert outcome.finished == set()


def test_two_commands_do_not_work_in_one_folder(tmp_path: Path) -> None:
    def again(line: str) -> None:
        with pytest.raises(InvalidInput, match="another command is at work in"):
            run_units([], tmp_path, tmp_path, jobs=1, environment={}, seconds=None, say=said)
        asked.append(line)

    asked: list[str] = []
    unit = Units(tmp_path).add("images", "images", {"folders": []})
    run_units([unit], tmp_path, tmp_path, jobs=1, environment={}, seconds=None, say=again)
    assert asked[0] == "begins    images"
