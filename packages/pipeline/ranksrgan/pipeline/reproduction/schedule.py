"""Running units as processes, several at once, and stopping them so that nothing is lost."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.pipeline.reproduction import work
from ranksrgan.pipeline.reproduction.units import LOG_FILE, Unit

#: Seconds that a stopped training has to finish its step and save.
GRACE = 60.0

_LOOK_EVERY = 0.1

_LOCK = "lock"

# Not forks, not even of a process that has only imported: OpenMP's threads do not come along, and
# the first operator that wants them would wait for ever.
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass
class Outcome:
    """How far the units have come.

    Attributes:
        finished: by name; those of earlier runs are among them.
        failed: by name, with the reason.
        stopped: whether a signal or the time limit ended it.
    """

    finished: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def run_units(
    units: Sequence[Unit],
    runs: Path,
    data: Path,
    *,
    jobs: int,
    environment: Mapping[str, str],
    seconds: float | None,
    say: Callable[[str], None],
) -> Outcome:
    """Do all units that are not finished; each starts when those that it needs are.

    A unit that fails takes those that need it with it; the others go on. When the time is up, or at
    a first SIGTERM or Ctrl-C, nothing more is started, running units get SIGTERM (trainings save
    their state), and what does not end within `GRACE` seconds is killed: a kill loses what came
    after the last saved state.

    Args:
        units: each after those that it needs; where several could start, the first does.
        runs: their folders.
        data: see `Units`.
        jobs: how many run at once. Step times are measured while nothing else runs.
        environment: of the processes, on top of this one's.
        seconds: the time limit; None for none.
        say: takes a line when a unit begins, ends or fails.

    Raises:
        InvalidInput: another process is at work there.
    """
    with _alone(runs):
        return _run(units, runs, data, jobs, environment, seconds, say)


def _run(
    units: Sequence[Unit],
    runs: Path,
    data: Path,
    jobs: int,
    environment: Mapping[str, str],
    seconds: float | None,
    say: Callable[[str], None],
) -> Outcome:
    outcome = Outcome({unit.name for unit in units if unit.is_finished(runs)})
    waiting = [unit for unit in units if unit.name not in outcome.finished]
    total, running = len(units), dict[str, _Running]()
    ends = None if seconds is None else time.monotonic() + seconds
    with stop_requested() as stopping:
        try:
            while waiting or running:
                _collect(running, outcome, runs, total, say)
                if stopping() or (ends is not None and time.monotonic() >= ends):
                    outcome.stopped = True
                    break
                waiting = _without_hope(waiting, outcome)
                for unit in _ready(waiting, running, outcome, jobs):
                    waiting.remove(unit)
                    running[unit.name] = _start(unit, runs, data, jobs, environment)
                    say(f"begins    {unit.label}")
                time.sleep(_LOOK_EVERY if running else 0)
        finally:
            _stop(running)
            _collect(running, outcome, runs, total, say)
    return outcome


@dataclass
class _Running:
    unit: Unit
    process: SpawnProcess
    began: float
    told_to_stop: bool = False


def _start(
    unit: Unit, runs: Path, data: Path, jobs: int, environment: Mapping[str, str]
) -> _Running:
    folder = unit.prepare(runs)
    cores = os.cpu_count() or 1
    process = _CONTEXT.Process(
        target=work.in_process,
        args=(folder, data, folder / LOG_FILE),
        kwargs={
            "workers": min(cores, max(1, 2 * cores // jobs)),
            "threads": max(1, cores // jobs),
            "environment": dict(environment),
        },
    )
    process.start()
    return _Running(unit, process, time.monotonic())


def _ready(
    waiting: Sequence[Unit], running: Mapping[str, _Running], outcome: Outcome, jobs: int
) -> list[Unit]:
    """What may start now."""
    if any(at.unit.kind == "step_time" for at in running.values()):
        return []
    chosen: list[Unit] = []
    for unit in waiting:
        if len(running) + len(chosen) >= jobs:
            break
        if any(before.name not in outcome.finished for before in unit.after):
            continue
        if unit.kind != "step_time":
            chosen.append(unit)
        elif not running and not chosen:
            return [unit]
    return chosen


def _without_hope(waiting: Sequence[Unit], outcome: Outcome) -> list[Unit]:
    """Those left whose predecessors have not failed; the others fail with them."""
    left = []
    for unit in waiting:
        lost = next((before for before in unit.after if before.name in outcome.failed), None)
        if lost is None:
            left.append(unit)
        else:
            outcome.failed[unit.name] = f"{unit.label}: needs {lost.label}, which failed"
    return left


def _collect(
    running: dict[str, _Running],
    outcome: Outcome,
    runs: Path,
    total: int,
    say: Callable[[str], None],
) -> None:
    """Take note of processes that have ended."""
    for name, at in list(running.items()):
        if at.process.is_alive():
            continue
        del running[name]
        took = time.monotonic() - at.began
        if at.unit.is_finished(runs):
            outcome.finished.add(name)
            done = f"{len(outcome.finished)} of {total}"
            say(f"finished  {at.unit.label} ({took:.0f} s; {done})")
        elif at.told_to_stop:
            say(f"stopped   {at.unit.label}")
        else:
            log = runs / name / LOG_FILE
            outcome.failed[name] = f"{at.unit.label}: {_last_line(log)} (see {log})"
            say(f"FAILED    {outcome.failed[name]}")


def _stop(running: Mapping[str, _Running]) -> None:
    """Have everything save and end."""
    for at in running.values():
        at.told_to_stop = True
        at.process.terminate()
    ends = time.monotonic() + GRACE
    for at in running.values():
        at.process.join(max(0.0, ends - time.monotonic()))
        if at.process.is_alive():
            at.process.kill()
            at.process.join()


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Two commands at once would write the same files."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"another command is at work in {runs}; wait for it", field=str(runs)
            ) from None
        yield


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
