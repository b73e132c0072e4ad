"""``ranksrgan reproduce``: run experiments, or go on with them, and write what they found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.assets import ASSETS, VARIABLE
from ranksrgan.contracts.errors import InvalidInput, RankSRGANError
from ranksrgan.pipeline.reproduction.conclude import conclude
from ranksrgan.pipeline.reproduction.config import Scale, load_experiment, load_scale
from ranksrgan.pipeline.reproduction.earlier import check_replaceable, write_scale
from ranksrgan.pipeline.reproduction.findings import Findings, write_findings
from ranksrgan.pipeline.reproduction.page import write_page
from ranksrgan.pipeline.reproduction.plan import IMAGES, Plan, Planner
from ranksrgan.pipeline.reproduction.schedule import run_units
from ranksrgan.pipeline.reproduction.table import write_table
from ranksrgan.pipeline.reproduction.units import (
    DONE_FILE,
    Unit,
    Units,
    content_hash,
    resolved,
)
from ranksrgan.pipeline.reproduction.work import link, link_images
from ranksrgan.srgan.shipped import SHIPPED

RUNS = "runs"
ASSETS_FOLDER = "assets"
PAGE_FILE = "report.html"

#: Files of the data that are assets of the project under another name there.
_ALIASES = {"alexnet_features.pth": ASSETS["alexnet"].file}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        names: of experiments.
        experiments: their folder.
        scale: a name, or a YAML file.
        settings: on top of the scale, each ``key.key=value``.
        seeds: of the trainings.
        data: the folder of images and weights.
        output: takes ``NAME/`` of each experiment, and ``runs/SCALE/`` of what they share.
        jobs: units at once.
        seconds: the time limit; None for none.
        initial: weights of an SRResNet to start from, a file or the name of what
            ``ranksrgan.srgan`` ships; None: what the scale says.
    """

    names: tuple[str, ...]
    experiments: Path
    scale: str = "small"
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data: Path = Path("../shared/data")
    output: Path = Path("results")
    jobs: int = 1
    seconds: float | None = None
    initial: Path | None = None

    @property
    def scale_name(self) -> str:
        return Path(self.scale).stem

    @cached_property
    def figures_of(self) -> str:
        """What tables say of the scale: its name, and what the command changed of it.

        Raises:
            InvalidInput: the weights to start from are missing.
        """
        start = [] if self.initial is None else [f"from {_named(SHIPPED.resolve(self.initial))}"]
        changed = [*self.settings, *start]
        return f"{self.scale_name} with {', '.join(changed)}" if changed else self.scale_name

    @property
    def runs(self) -> Path:
        return self.output / RUNS / self.scale_name


@dataclass(frozen=True)
class Reproduction:
    """What became of a request.

    Attributes:
        findings: of the experiments that are complete, by name.
        failed: reasons, where units failed or what they left makes no findings.
        stopped: whether time ran out, or a signal came, before all was done.
    """

    findings: dict[str, Findings]
    failed: tuple[str, ...]
    stopped: bool


def reproduce(request: Request, say: Callable[[str], None]) -> Reproduction:
    """Do what is not done yet; write table, page and ``findings.json`` of what is complete.

    Raises:
        UnknownName: no such experiment or scale.
        InvalidConfig: an impossible configuration.
        InvalidInput: data that is missing, a name or seed given twice, or figures of another scale
            or of further seeds where these would be written.
    """
    _check(request)
    scale = load_scale(request.experiments, request.scale, request.settings)
    for name in request.names:
        check_replaceable(request.output / name, request.figures_of, scale, request.seeds)
    units = Units(request.data)
    runs = request.runs
    start = _start(request.initial, scale)
    given = None if start is None else given_unit(start, units, runs)
    planner = Planner(scale, units, given)
    plans = [
        planner.plan(name, load_experiment(request.experiments, name), request.seeds)
        for name in dict.fromkeys(request.names)
    ]
    wanted = _in_order(plans)
    done = sum(unit.is_finished(runs) for unit in wanted)
    say(
        f"{', '.join(request.names)} at scale {request.scale_name}: {len(wanted)} units of work, "
        f"{done} of them done"
    )
    _relink(wanted, request.data, runs)
    outcome = run_units(
        wanted,
        runs,
        request.data,
        jobs=request.jobs,
        environment={VARIABLE: str(_assets(request.data, runs / ASSETS_FOLDER))},
        seconds=request.seconds,
        say=say,
    )
    findings, failed = {}, list(outcome.failed.values())
    for plan in plans:
        if all(unit.name in outcome.finished for unit in plan.units):
            try:
                findings[plan.name] = _write(plan, request, scale, start)
            except RankSRGANError as error:  # is not to cost the next one its table
                failed.append(f"{plan.name}: {error}")
    return Reproduction(findings, tuple(failed), outcome.stopped)


def _start(initial: Path | None, scale: Scale) -> Path | None:
    """The weights that SRGAN goes on from, if there are any."""
    if initial is not None:
        return SHIPPED.resolve(initial)
    return None if scale.start is None else SHIPPED.path(scale.start)


def _named(weights: Path) -> str:
    """Weights in a table's words: a file of the same name and other content is another."""
    return f"{weights.name}, sha256 {content_hash(weights)[:12]}"


def _check(request: Request) -> None:
    for what, given in (("experiment", request.names), ("seed", request.seeds)):
        if len(set(given)) < len(given):
            raise InvalidInput(f"{what}s: one is given twice: {given}", field=what)
    if not request.seeds:
        raise InvalidInput("seeds: at least one is needed", field="seeds")
    if not request.data.is_dir():
        raise InvalidInput(
            f"{request.data} is no folder: --data names that of the images and weights, laid out "
            "as the README of experiments/ says",
            field="data",
        )


def given_unit(weights: Path, units: Units, runs: Path) -> Unit:
    """Weights from elsewhere, as a unit that is finished."""
    content = content_hash(weights)
    name = f"generator{weights.suffix}"
    unit = units.add("given", "weights that SRGAN goes on from", {"sha256": content, "file": name})
    folder = unit.prepare(runs)
    with atomic.replacing(folder / name) as temporary:
        shutil.copyfile(weights, temporary)
    atomic.write_text(folder / DONE_FILE, '{"result": {}}\n')
    return unit


def _in_order(plans: Sequence[Plan]) -> list[Unit]:
    """Experiment by experiment; in each, first what the longest chain of others waits for."""
    ordered: dict[str, Unit] = {}
    for plan in plans:
        heights: dict[str, int] = {}
        for unit in reversed(plan.units):
            above = heights.setdefault(unit.name, 0)
            for before in unit.after:
                heights[before.name] = max(heights.get(before.name, 0), above + 1)
        for unit in sorted(plan.units, key=lambda unit: -heights[unit.name]):
            ordered.setdefault(unit.name, unit)
    return list(ordered.values())


def _relink(units: Sequence[Unit], data: Path, runs: Path) -> None:
    """Finished links to images lead to where these are now: the data may have been moved."""
    for unit in units:
        if unit.kind == "images" and unit.is_finished(runs):
            folders = resolved(unit.config["folders"], data, runs)
            link_images([Path(folder) for folder in folders], runs / unit.name / IMAGES)


def _assets(data: Path, folder: Path) -> Path:
    """A folder of links to the user's assets and to those among the data."""
    folder.mkdir(parents=True, exist_ok=True)
    own = os.environ.get(VARIABLE)
    places = [data / "weights" / "perceptual", data / "weights" / "lpips"]
    for place in [*places, *([Path(own)] if own else [])]:
        for path in sorted(place.glob("*")) if place.is_dir() else ():
            link(folder / _ALIASES.get(path.name, path.name), path)
    return folder.absolute()


def _write(plan: Plan, request: Request, scale: Scale, start: Path | None) -> Findings:
    folder = request.output / plan.name
    from_ = None if start is None else _named(start)
    findings = conclude(plan, request.figures_of, scale, from_, request.runs, folder)
    write_scale(folder, scale)
    write_findings(folder, findings)
    write_table(folder, findings)
    write_page(findings, folder / PAGE_FILE)
    return findings
