"""Jobs in real processes that are stopped, killed and adopted."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.errors import (
    AddressInUse,
    InternalError,
    InvalidDataset,
    InvalidInput,
    Overloaded,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.contracts.operations import job_process, watched_job
from ranksrgan.contracts.operations.job_process import JobContext, run_job
from ranksrgan.contracts.operations.jobs import (
    JobError,
    JobFolder,
    JobOutcome,
    JobPhase,
    JobRequest,
    is_job_id,
)
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from tests.contracts.trials import Trials, finished, is_alive, until

GATED = {"count": 4, "gate": 2}


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trials]:
    found = Trials(tmp_path, monkeypatch)
    yield found
    found.stop()


def folder_of(trials: Trials, job_id: str) -> JobFolder:
    return JobFolder(trials.root.folder / "operations" / job_id)


# What becomes of a job


def test_a_job_runs_and_leaves_its_result(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", {"count": 3})
    assert (asked.phase, asked.done, asked.progress) == (JobPhase.QUEUED, False, {})
    assert is_job_id(asked.id)
    job = finished(supervisor, asked)
    assert (job.phase, job.result, job.error) == (JobPhase.SUCCEEDED, {"count": 3}, None)
    assert (job.kind, job.target, job.attempts) == ("Count", "things/a", 1)
    assert job.progress.pop("pace") >= 0
    assert job.progress == {"done": 3, "total": 3, "eta": 0.0, "loss": 0.5 / 3}
    assert job.started is not None
    assert job.ended is not None
    assert job.created <= job.started <= job.ended


def test_jobs_run_some_at_a_time_and_in_order(trials: Trials) -> None:
    supervisor = trials.start(JobLimits(running=2))
    jobs = [
        supervisor.submit("Count", f"things/{name}", {"count": 1, "gate": 0}) for name in "abcd"
    ]
    trials.until_begun("things/a")
    trials.until_begun("things/b")
    assert [supervisor.get(job.id).phase for job in jobs] == [
        JobPhase.RUNNING,
        JobPhase.RUNNING,
        JobPhase.QUEUED,
        JobPhase.QUEUED,
    ]
    supervisor.cancel(jobs[1].id)
    trials.until_begun("things/c")
    assert trials.pids("things/d") == []
    trials.open_gate()
    assert [finished(supervisor, job).phase for job in jobs] == [
        JobPhase.SUCCEEDED,
        JobPhase.CANCELLED,
        JobPhase.SUCCEEDED,
        JobPhase.SUCCEEDED,
    ]


def test_an_error_of_ours_is_the_jobs_error(trials: Trials) -> None:
    supervisor = trials.start()
    job = finished(supervisor, supervisor.submit("Count", "things/a", {"fail": "datasets/x"}))
    assert (job.phase, job.result, job.attempts) == (JobPhase.FAILED, None, 1)
    assert type(job.error) is InvalidDataset
    assert job.error.message == "datasets/x is empty"  # and not where the data root is
    assert job.error.field == "dataset"


def test_of_what_was_not_foreseen_only_a_number_leaves_the_log(trials: Trials) -> None:
    supervisor = trials.start()
    job = finished(supervisor, supervisor.submit("Count", "things/a", {"crash": "/secret/key"}))
    assert type(job.error) is InternalError
    found = re.fullmatch(r"the job failed; its log has incident ([0-9a-f]{12})", str(job.error))
    assert found
    log = folder_of(trials, job.id).log.read_text()
    assert found[1] in log
    assert "RuntimeError: /secret/key" in log


def test_a_killed_process_is_replaced_and_goes_on(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", GATED)
    trials.until_traced("things/a count 2")
    os.kill(trials.until_begun("things/a"), signal.SIGKILL)
    trials.open_gate()
    job = finished(supervisor, asked)
    assert (job.phase, job.result, job.attempts) == (JobPhase.SUCCEEDED, {"count": 4}, 2)
    assert trials.counts("things/a") == [1, 2, 3, 4]


@pytest.mark.parametrize("how", ["alone", "and leave a child"])
def test_a_job_whose_processes_all_die_ends_with_an_error(trials: Trials, how: str) -> None:
    supervisor = trials.start(JobLimits(deaths=2))
    job = finished(supervisor, supervisor.submit("Count", "things/a", {"die": how}))
    assert (job.phase, job.attempts) == (JobPhase.FAILED, 2)
    with pytest.raises(InternalError, match="without a word 2 times"):
        raise job.error or AssertionError
    after = finished(supervisor, supervisor.submit("Count", "things/b", {"count": 1}))
    assert after.phase is JobPhase.SUCCEEDED


def test_a_process_that_is_told_to_stop_is_not_one_that_died(trials: Trials) -> None:
    supervisor = trials.start(JobLimits(deaths=1))
    asked = supervisor.submit("Count", "things/a", GATED)
    trials.until_traced("things/a count 2")
    os.kill(trials.until_begun("things/a"), signal.SIGTERM)
    trials.until_begun("things/a", times=2)
    trials.open_gate()
    job = finished(supervisor, asked)
    assert (job.phase, job.attempts) == (JobPhase.SUCCEEDED, 2)


# Cancelling


def test_cancelling_stops_the_work_and_keeps_what_it_has(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", GATED)
    trials.until_traced("things/a count 2")
    supervisor.cancel(asked.id)
    job = finished(supervisor, asked)
    assert (job.phase, job.result) == (JobPhase.CANCELLED, None)
    assert type(job.error) is RequestCancelled
    assert (trials.root.folder / "counts" / "things-a").read_text() == "2"
    until(lambda: not is_alive(trials.pids("things/a")[0]))
    trials.open_gate()
    again = finished(supervisor, supervisor.submit("Count", "things/a", GATED))
    assert again.result == {"count": 4}
    assert trials.counts("things/a") == [1, 2, 3, 4]


def test_who_does_not_listen_is_killed(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", {"deaf": True})
    trials.until_traced("things/a listening")
    supervisor.cancel(asked.id)
    supervisor.cancel(asked.id)
    assert finished(supervisor, asked).phase is JobPhase.CANCELLED
    assert "things/a deaf" in trials.trace  # it was asked first
    assert not is_alive(trials.pids("things/a")[0])


def test_a_waiting_job_is_cancelled_without_a_process(trials: Trials) -> None:
    supervisor = trials.start()
    supervisor.submit("Count", "things/a", {"count": 1, "gate": 0})
    waiting = supervisor.submit("Count", "things/b", {"count": 1})
    supervisor.cancel(waiting.id)
    job = finished(supervisor, waiting)
    assert (job.phase, job.attempts, job.started) == (JobPhase.CANCELLED, 0, None)


def test_cancelling_what_is_done_changes_nothing(trials: Trials) -> None:
    supervisor = trials.start()
    job = finished(supervisor, supervisor.submit("Count", "things/a", {"count": 1}))
    supervisor.cancel(job.id)
    assert supervisor.get(job.id) == job


# The end of the supervisor


def test_what_a_supervisor_stops_the_next_one_lets_go_on(trials: Trials) -> None:
    first = trials.start(JobLimits(deaths=1))
    asked = first.submit("Count", "things/a", GATED)
    behind = first.submit("Count", "things/b", {"count": 1})
    trials.until_traced("things/a count 2")
    first.stop(grace=60)
    assert not is_alive(trials.pids("things/a")[0])
    assert first.get(asked.id).phase is JobPhase.QUEUED
    trials.open_gate()
    second = trials.start(JobLimits(deaths=1))
    job = finished(second, asked)
    assert (job.phase, job.result, job.attempts) == (JobPhase.SUCCEEDED, {"count": 4}, 2)
    assert (job.created, job.started) == (asked.created, first.get(asked.id).started)
    assert trials.counts("things/a") == [1, 2, 3, 4]
    assert finished(second, behind).phase is JobPhase.SUCCEEDED


def test_who_does_not_stop_in_time_is_killed_and_goes_on_later(trials: Trials) -> None:
    first = trials.start(JobLimits(deaths=1))
    asked = first.submit("Count", "things/a", {"deaf": True})
    trials.until_traced("things/a listening")
    first.stop(grace=0.1)
    assert not is_alive(trials.pids("things/a")[0])
    second = trials.start(JobLimits(deaths=1))
    trials.until_begun("things/a", times=2)
    second.cancel(asked.id)
    assert finished(second, asked).phase is JobPhase.CANCELLED


def lose_supervisor(trials: Trials, request: dict[str, Any]) -> str:
    """Have a supervisor in another process begin a job and be killed; the job's id."""
    code = (
        "import sys, threading\n"
        "import trial_job  # without torch\n"
        "from ranksrgan.contracts.data_root import DataRoot\n"
        "from ranksrgan.contracts.operations.supervisor import Supervisor\n"
        "jobs = Supervisor(DataRoot(sys.argv[1]), 'trial', {'Count': 'trial_job'})\n"
        "jobs.start()\n"
        f"print(jobs.submit('Count', 'things/a', {request!r}).id, flush=True)\n"
        "threading.Event().wait()\n"
    )
    command = [sys.executable, "-c", code, str(trials.root.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        trials.until_begun("things/a")
        process.kill()
    return job_id


def test_a_process_outlives_its_supervisor_and_is_adopted(trials: Trials) -> None:
    job_id = lose_supervisor(trials, GATED)
    supervisor = trials.start()
    (pid,) = trials.pids("things/a")
    assert supervisor.get(job_id).phase is JobPhase.RUNNING
    trials.open_gate()
    job = finished(supervisor, supervisor.get(job_id))
    assert (job.phase, job.result, job.attempts) == (JobPhase.SUCCEEDED, {"count": 4}, 1)
    assert trials.pids("things/a") == [pid]


def test_what_ended_while_nobody_looked_is_found(trials: Trials) -> None:
    job_id = lose_supervisor(trials, GATED)
    trials.open_gate()
    until(lambda: folder_of(trials, job_id).outcome() is not None)
    supervisor = trials.start()
    assert supervisor.get(job_id).result == {"count": 4}
    assert len(trials.pids("things/a")) == 1


def test_supervisor_and_process_die_and_the_job_goes_on(trials: Trials) -> None:
    job_id = lose_supervisor(trials, GATED)
    trials.until_traced("things/a count 2")
    os.kill(trials.pids("things/a")[0], signal.SIGKILL)
    trials.open_gate()
    supervisor = trials.start()
    job = finished(supervisor, supervisor.get(job_id))
    assert (job.phase, job.result, job.attempts) == (JobPhase.SUCCEEDED, {"count": 4}, 2)
    assert trials.counts("things/a") == [1, 2, 3, 4]


@pytest.mark.parametrize("request_", [GATED, {"deaf": True}])
def test_an_adopted_process_can_be_cancelled(trials: Trials, request_: dict[str, Any]) -> None:
    job_id = lose_supervisor(trials, request_)
    supervisor = trials.start()
    supervisor.cancel(job_id)
    assert finished(supervisor, supervisor.get(job_id)).phase is JobPhase.CANCELLED
    until(lambda: not is_alive(trials.pids("things/a")[0]))
    assert len(trials.pids("things/a")) == 1


def test_an_adopted_process_leaves_no_children_behind(trials: Trials) -> None:
    job_id = lose_supervisor(trials, {"die": "and leave a child"})
    supervisor = trials.start(JobLimits(deaths=2))
    job = finished(supervisor, supervisor.get(job_id))
    assert (job.phase, job.attempts) == (JobPhase.FAILED, 2)


def test_one_supervisor_at_a_time(trials: Trials) -> None:
    first = trials.start()
    with pytest.raises(AddressInUse, match="another server"):
        trials.supervisor().start()
    other = Supervisor(trials.root, "another", {"Count": "trial_job"})
    other.start()
    first.submit("Count", "things/a", {"count": 1, "gate": 0})
    assert other.page(10) == ([], False)
    other.stop()
    first.stop()
    trials.start()


# Asking


def test_the_same_request_gives_the_same_job(trials: Trials) -> None:
    supervisor = trials.start()
    request = {"count": 1, "gate": 0, "options": (1, 2)}
    asked = supervisor.submit("Count", "things/a", request, "r-1")
    assert supervisor.submit("Count", "things/a", request, "r-1").id == asked.id
    for target, other in (("things/b", request), ("things/a", {"count": 2})):
        with pytest.raises(InvalidInput, match=f"operations/{asked.id} has it") as caught:
            supervisor.submit("Count", target, other, "r-1")
        assert caught.value.field == "request_id"
    trials.open_gate()
    finished(supervisor, asked)
    supervisor.stop()
    again = trials.start()
    assert again.submit("Count", "things/a", request, "r-1").id == asked.id
    assert again.submit("Count", "things/a", request, "r-2").id != asked.id
    assert again.submit("Count", "things/b", request).id != asked.id


def test_a_known_request_is_not_prepared_again(trials: Trials) -> None:
    def refuse() -> dict[str, Any]:
        raise UnknownName("there is no images/faces")

    request = {"count": 1, "gate": 0}
    supervisor = trials.start()
    with pytest.raises(UnknownName, match="images/faces"):
        supervisor.submit("Count", "things/a", request, "r-1", prepare=refuse)
    asked = supervisor.submit("Count", "things/a", request, "r-1", prepare=lambda: {"with": "x"})
    assert folder_of(trials, asked.id).request().request == {**request, "with": "x"}
    assert supervisor.submit("Count", "things/a", request, "r-1", prepare=refuse).id == asked.id
    supervisor.stop()
    again = trials.start()
    assert again.submit("Count", "things/a", request, "r-1", prepare=refuse).id == asked.id
    with pytest.raises(InvalidInput, match="another request"):
        again.submit("Count", "things/a", {**request, "count": 2}, "r-1", prepare=refuse)


def test_one_unfinished_job_for_each_target(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", {"count": 1, "gate": 0})
    with pytest.raises(InvalidInput, match=f"operations/{asked.id} makes things/a") as caught:
        supervisor.submit("Count", "things/a", {"count": 1, "gate": 0}, field="thing_id")
    assert caught.value.field == "thing_id"
    trials.open_gate()
    finished(supervisor, asked)
    assert supervisor.submit("Count", "things/a", {"count": 1, "gate": 0}).id != asked.id


def test_a_full_queue_refuses(trials: Trials) -> None:
    supervisor = trials.start(JobLimits(running=1, queue=1))
    jobs = [supervisor.submit("Count", f"things/{name}", {"count": 1, "gate": 0}) for name in "ab"]
    with pytest.raises(Overloaded, match="2 operations are not done"):
        supervisor.submit("Count", "things/c", {"count": 1})
    supervisor.cancel(jobs[1].id)
    finished(supervisor, jobs[1])
    supervisor.submit("Count", "things/c", {"count": 1})


def test_only_what_is_done_is_deleted(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", {"count": 1, "gate": 0})
    with pytest.raises(InvalidInput, match="not done"):
        supervisor.delete(asked.id)
    trials.open_gate()
    finished(supervisor, asked)
    supervisor.delete(asked.id)
    assert not folder_of(trials, asked.id).path.exists()
    for ask in (supervisor.get, supervisor.cancel, supervisor.delete):
        with pytest.raises(UnknownName, match=f"no operations/{asked.id}"):
            ask(asked.id)
    supervisor.stop()
    assert trials.start().page(10) == ([], False)


def test_pages_are_in_the_order_of_the_requests(trials: Trials) -> None:
    supervisor = trials.start()
    first = finished(supervisor, supervisor.submit("Count", "things/0", {"count": 1}))
    rest = [supervisor.submit("Count", f"things/{n}", {"count": 1, "gate": 0}) for n in range(1, 4)]
    ids = [first.id, *(job.id for job in rest)]

    def page(size: int, **which: Any) -> tuple[list[str], bool]:
        jobs, more = supervisor.page(size, **which)
        return [job.id for job in jobs], more

    assert page(4) == (ids, False)
    assert page(2) == (ids[:2], True)
    assert page(2, after=ids[1]) == (ids[2:], False)
    assert page(9, done=True) == (ids[:1], False)
    assert page(2, done=False) == (ids[1:3], True)
    assert page(2, done=False, after=ids[2]) == (ids[3:], False)


def test_waiting_ends_when_nobody_wants_it(trials: Trials) -> None:
    supervisor = trials.start()
    asked = supervisor.submit("Count", "things/a", {"count": 1, "gate": 0})
    assert not supervisor.wait(asked.id, 0.0, lambda: True).done
    assert not supervisor.wait(asked.id, 1e9, lambda: False).done


# What is wrong on disk


def test_a_damaged_folder_is_left_alone(trials: Trials) -> None:
    first = trials.start()
    jobs = [finished(first, first.submit("Count", "things/a", {"count": 1})) for _ in range(4)]
    first.stop()
    folder_of(trials, jobs[0].id).path.joinpath("request.json").write_text("{")
    folder_of(trials, jobs[1].id).path.joinpath("state.json").write_text('{"attempts": "many"}')
    request = folder_of(trials, jobs[2].id).request()
    folder_of(trials, jobs[2].id).write_request(request.model_copy(update={"kind": "Unknown"}))
    (trials.root.folder / "operations" / "something else").touch()
    (trials.root.folder / "operations" / ".trial" / "trial-000009-00000000").mkdir()
    second = trials.start()
    assert second.page(10) == ([jobs[3]], False)
    assert (trials.root.folder / "operations" / jobs[0].id).is_dir()
    assert not (trials.root.folder / "operations" / ".trial" / "trial-000009-00000000").exists()
    assert finished(second, second.submit("Count", "things/b", {"count": 1})).id > jobs[3].id


def test_a_full_disk_holds_jobs_up_and_no_more(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: list[str] = []

    def write(folder: JobFolder, state: object) -> None:
        full.append(folder.path.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = trials.start()
    with monkeypatch.context() as disk:
        disk.setattr(JobFolder, "write_state", write)
        asked = supervisor.submit("Count", "things/a", {"count": 1})
        until(lambda: len(full) > 0)
        assert supervisor.get(asked.id).phase is JobPhase.QUEUED
    assert finished(supervisor, asked).phase is JobPhase.SUCCEEDED


def test_a_process_that_cannot_be_started_is_none_that_died(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def refuse(*arguments: object, **options: object) -> None:
        tried.append(arguments)
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    supervisor = trials.start(JobLimits(deaths=1))
    with monkeypatch.context() as machine:
        machine.setattr(watched_job.subprocess, "Popen", refuse)
        asked = supervisor.submit("Count", "things/a", {"count": 1})
        until(lambda: len(tried) > 1)
        held_up = supervisor.get(asked.id)
        assert (held_up.phase, held_up.attempts, held_up.started) == (JobPhase.QUEUED, 0, None)
    report = finished(supervisor, asked)
    assert (report.phase, report.attempts) == (JobPhase.SUCCEEDED, 1)


# A process by itself


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "operations" / "trial-000001-0123abcd")
    folder.write_request(
        JobRequest(kind="Count", target="things/a", request={"n": 1}, request_id="", created=0.0)
    )
    return folder


def test_a_process_leaves_a_job_alone_that_another_one_works_on(job: JobFolder) -> None:
    lock = job.lock()
    assert lock is not None
    assert job.lock() is None
    assert run_job(job.path, lambda context: {}) == 1
    lock.release()
    assert job.outcome() is None


@pytest.mark.parametrize("left", ["4194303 stopped", "4194303999 stopped", "none stopped"])
def test_a_process_started_by_hand_says_who_it_is(job: JobFolder, left: str) -> None:
    (job.path / "lock").write_text(left)
    assert job.holder().stopped
    lock = job.lock()
    assert lock is not None
    lock.claim()
    assert job.holder() == (os.getpid(), False)
    lock.claim(stopped=True)
    assert job.holder() == (os.getpid(), True)
    lock.release()


def test_who_cannot_be_read_is_nobody(job: JobFolder) -> None:
    (job.path / "lock").write_text("9300topped")
    assert job.holder() == (None, False)


def test_work_is_told_what_to_do_and_its_result_kept(job: JobFolder) -> None:
    def work(context: JobContext) -> dict[str, Any]:
        assert job.lock() is None
        assert job.holder() == (os.getpid(), False)
        return {"target": context.target, "folder": str(context.root.folder), **context.request}

    assert run_job(job.path, work) == 0
    outcome = job.outcome()
    assert outcome is not None
    assert outcome.result == {"target": "things/a", "folder": str(job.path.parents[1]), "n": 1}


def test_what_is_done_is_not_done_again(job: JobFolder) -> None:
    outcome = JobOutcome(ended=1.0, error=JobError.of(InvalidInput("no", field="n")))
    job.write_outcome(outcome)
    assert run_job(job.path, lambda context: pytest.fail("worked")) == 0
    assert job.outcome() == outcome


def test_a_training_that_saves_and_raises_is_stopped(job: JobFolder) -> None:
    def work(context: JobContext) -> dict[str, Any]:
        context.report(1, 2)
        context.report(2, 2)
        raise KeyboardInterrupt

    assert run_job(job.path, work) == 1
    assert job.outcome() is None
    assert job.holder().stopped
    assert job.progress()["done"] == 2


def test_a_result_that_is_no_json_is_an_error(job: JobFolder) -> None:
    assert run_job(job.path, lambda context: {"path": Path("/")}) == 0
    outcome = job.outcome()
    assert outcome is not None
    with pytest.raises(InternalError, match="incident"):
        raise outcome.error.restore() if outcome.error else AssertionError


def test_reports_are_written_now_and_then_with_the_time_that_is_left(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(job_process.time, "monotonic", lambda: now)
    seen = []

    def work(context: JobContext) -> dict[str, Any]:
        nonlocal now
        for done, seconds in ((10, 0.0), (11, 0.2), (12, 0.2), (20, 4.6)):
            now += seconds
            context.report(done, 40, source=f"image {done}")
            progress = json.loads((job.path / "progress.json").read_text())
            seen.append(tuple(progress[key] for key in ("done", "pace", "eta", "source")))
        context.report(40, 40)
        return {}

    assert run_job(job.path, work) == 0
    # 10 were there before; 10 more took 5 seconds, and 20 are left.
    first, last = (10, None, None, "image 10"), (20, 0.5, 10.0, "image 20")
    assert seen == [first] * 3 + [last]
    assert job.progress() == {"done": 40, "total": 40, "pace": 5 / 30, "eta": 0.0}


def test_progress_that_cannot_be_written_stops_no_work(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: JobFolder, progress: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def work(context: JobContext) -> dict[str, Any]:
        context.report(1, 2)
        return {"n": 1}

    monkeypatch.setattr(JobFolder, "write_progress", refuse)
    assert run_job(job.path, work) == 0
    outcome = job.outcome()
    assert outcome is not None
    assert outcome.result == {"n": 1}
