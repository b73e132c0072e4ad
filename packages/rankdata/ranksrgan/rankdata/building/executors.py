"""Where the source images of a dataset are worked on: here, in processes, or on a Ray cluster.

Each runs the same `SourceWork`; the datasets are the same to the byte.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast, get_args

import torch

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidInput,
    ModelReplaced,
    NotSupported,
    ServiceUnavailable,
)
from ranksrgan.rankdata.building.source import SourceWork
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.identity import models_of

#: ``local``: one after the other in this process. ``processes``: several processes of this machine,
#: which share its CPU threads. ``ray``: Ray Data, on the cluster that $RAY_ADDRESS names or on this
#: machine; every node has to see the same files under the same paths.
Executor = Literal["local", "processes", "ray"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)

# Seconds between two looks at whether the work is still wanted.
_PATIENCE = 0.5

# Ray hands out blocks, each with one source or, where there are more sources, with several.
_RAY_BLOCKS = 1000


def check_executor(executor: Executor, workers: int | None, *, given: bool) -> None:
    """Refuse what cannot be run.

    Args:
        executor: see `Executor`.
        workers: how many; None for one for each CPU.
        given: whether a scorer or upscaler is given as an object.

    Raises:
        InvalidInput: unknown executor, impossible number of workers, or objects that would have to
            travel to another process.
        NotSupported: Ray is wanted and not installed.
    """
    if executor not in EXECUTORS:
        raise InvalidInput(f"executor={executor}: one of {', '.join(EXECUTORS)}", field="executor")
    if workers is not None and (workers < 1 or executor == "local"):
        raise InvalidInput(
            f"workers={workers}: 1 or more, and not with executor=local", field="workers"
        )
    if given and executor != "local":
        raise InvalidInput(
            f"executor={executor}: scorers and upscalers that are given as objects stay in this "
            "process; name them in the configuration, or take executor=local",
            field="executor",
        )
    if executor == "ray":
        _import_ray()


def run_sources(
    names: Sequence[str],
    work: SourceWork,
    executor: Executor,
    workers: int | None,
    advance: Callable[[str], None],
) -> Iterator[str]:
    """Work on every source; yield the name of each that is finished.

    Args:
        names: of the sources.
        work: done in this process with ``local``; otherwise opened anew in each worker.
        executor, workers: see `check_executor`.
        advance: is told a source's name whenever one level of it is done, with ``local``.

    Raises:
        InternalError: a worker process died (names the source), or Ray gave up.
        ModelReplaced: a service has another model than when the build began.
        ServiceUnavailable: the Ray cluster of $RAY_ADDRESS does not answer.
        RankSRGANError: whatever the work raises. What is finished stays finished.
    """
    if not names:
        return
    if executor == "local":
        for name in names:
            work(name, advance)
            yield name
    elif executor == "processes":
        yield from _in_processes(names, _Plan.of(work), min(workers or _cpus(), len(names)))
    else:
        yield from _on_ray(names, _Plan.of(work), workers)


class _Plan(NamedTuple):
    """What another process needs to do the same work."""

    config: BuildConfig
    models: dict[str, Any]  # as `models_of` has them

    @classmethod
    def of(cls, work: SourceWork) -> Self:
        return cls(work.config, models_of(work))

    def open(self) -> SourceWork:
        """The work, by the same models: a service may have got another one meanwhile.

        Raises:
            ModelReplaced: they are not.
        """
        work = SourceWork(self.config)
        if models_of(work) != self.models:
            raise ModelReplaced(
                "a level or a metric is another one than when the build began: build again"
            )
        return work


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Processes. Each worker has a pipe of its own and gets one source at a time, so that it is known
# which one a worker died of; the pools of the standard library cannot tell.


def _in_processes(names: Sequence[str], plan: _Plan, workers: int) -> Iterator[str]:
    waiting = iter(names)
    busy: dict[Connection, str] = {}
    with _workers(plan, workers) as processes:
        for pipe, name in zip(processes, waiting, strict=False):
            _hand_out(name, pipe, busy)
        while busy:
            cancellation.check()
            for ready in wait(list(busy), _PATIENCE):
                pipe = cast(Connection, ready)
                name = busy.pop(pipe)
                try:
                    error = pipe.recv()
                except (EOFError, ConnectionResetError):
                    processes[pipe].join()
                    raise InternalError(
                        f"the process that worked on {name} died (exit code "
                        f"{processes[pipe].exitcode}; -9 is often a lack of memory)",
                        field=name,
                    ) from None
                if error is not None:
                    raise error
                yield name
                for name in itertools.islice(waiting, 1):
                    _hand_out(name, pipe, busy)


def _hand_out(name: str, pipe: Connection, busy: dict[Connection, str]) -> None:
    busy[pipe] = name
    with suppress(BrokenPipeError):  # a worker that has died shows when its answer is awaited
        pipe.send(name)


@contextmanager
def _workers(plan: _Plan, count: int) -> Iterator[dict[Connection, SpawnProcess]]:
    """Worker processes by the pipe to each; they end with the block, whatever they are at."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // count)
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, plan, threads), daemon=True)
            processes[ours] = process
            process.start()
            theirs.close()
        yield processes
    finally:
        for pipe, process in processes.items():
            process.terminate()
            process.join()
            pipe.close()


def _serve(pipe: Connection, plan: _Plan, threads: int) -> None:
    """What a worker process runs: sources come in, None or an exception goes out for each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    work: SourceWork | None = None
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        try:
            work = work or plan.open()
            work(name)
        except Exception as error:
            error.add_note(traceback.format_exc())
            pipe.send(error)
        else:
            pipe.send(None)


def _end_with_parent() -> None:
    """A parent that was killed has let go of its lock: nobody may write on in its name."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


# Ray.


class _RayWork:
    """What a Ray actor runs: `map_batches` calls it with one source at a time."""

    def __init__(self, plan: _Plan, folder: str) -> None:
        os.chdir(folder)
        self._plan = plan
        self._work: SourceWork | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (name,) = batch["item"]
        error = b""
        try:  # what is raised here alone comes back as it is
            self._work = self._work or self._plan.open()
            self._work(str(name))
        except Exception as raised:
            raised.add_note(traceback.format_exc())
            error = pickle.dumps(raised)
        return {"source": [str(name)], "error": [error]}


def _on_ray(names: Sequence[str], plan: _Plan, workers: int | None) -> Iterator[str]:
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        # By itself Ray would also look for a cluster that was on this machine some time ago.
        address = os.environ.get("RAY_ADDRESS", "local")
        try:
            ray.init(address, include_dashboard=False)
        except ConnectionError as error:
            raise ServiceUnavailable(
                f"no Ray cluster answers at RAY_ADDRESS={address}", field="executor"
            ) from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        blocks = min(len(names), _RAY_BLOCKS)
        done = ray.data.from_items(list(names), override_num_blocks=blocks).map_batches(
            _RayWork,
            fn_constructor_args=(plan, str(Path.cwd())),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers or int(ray.cluster_resources()["CPU"])),
        )
        for row in done.iter_rows():
            cancellation.check()
            if row["error"]:
                raise pickle.loads(row["error"])
            yield row["source"]
    except ray.exceptions.RayError as error:
        raise InternalError(f"Ray has given up: {error}", field="executor") from error
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        importlib.import_module("ray.data")
    except ImportError as error:
        raise NotSupported(
            "executor=ray needs Ray: in the checkout, pip install 'packages/rankdata[ray]'",
            field="executor",
        ) from error
    return importlib.import_module("ray")
