"""The job process of the tests: ``python -m trial_job FOLDER``, doing what its request says.

It counts, and keeps the count in the data root as a training keeps its checkpoint. Tests hold it
between two counts by a gate, a file that is not there yet, and read in a trace what it has done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# `ranksrgan.contracts` would bring torch, which takes seconds and is not needed here.
_package = types.ModuleType("ranksrgan.contracts")
_ranksrgan = find_spec("ranksrgan")
assert _ranksrgan is not None
_package.__path__ = [f"{place}/contracts" for place in _ranksrgan.submodule_search_locations or ()]
sys.modules["ranksrgan.contracts"] = _package

from ranksrgan.contracts import cancellation  # noqa: E402
from ranksrgan.contracts.errors import InvalidDataset  # noqa: E402
from ranksrgan.contracts.operations.job_process import JobContext, run_job  # noqa: E402


def work(job: JobContext) -> dict[str, Any]:
    request = job.request
    _note(job, f"begin {os.getpid()}")
    if "fail" in request:
        raise InvalidDataset(f"{job.root.folder}/{request['fail']} is empty", field="dataset")
    if "crash" in request:
        raise RuntimeError(request["crash"])
    if "die" in request:
        if request["die"] == "and leave a child" and os.fork() == 0:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
    if "deaf" in request:
        signal.signal(signal.SIGTERM, lambda *_: _note(job, "deaf"))
        _note(job, "listening")
        while True:
            time.sleep(600)
    kept = job.root.folder / "counts" / job.target.replace("/", "-")
    kept.parent.mkdir(exist_ok=True)
    count = int(kept.read_text()) if kept.exists() else 0
    while count < request["count"]:
        while count == request.get("gate") and not (job.root.folder / "open").exists():
            cancellation.check()
            time.sleep(0.01)
        cancellation.check()
        count += 1
        kept.write_text(str(count))
        _note(job, f"count {count}")
        job.report(count, request["count"], loss=0.5 / count)
    return {"count": count}


def _note(job: JobContext, text: str) -> None:
    with (job.root.folder / "trace").open("a") as trace:
        trace.write(f"{job.target} {text}\n")


if __name__ == "__main__":
    raise SystemExit(run_job(Path(sys.argv[1]), work))
