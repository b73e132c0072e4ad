"""What becomes of a client's request, without a server and without the work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.operations.trainings import TrainingJobs
from ranksrgan.srgan import server
from ranksrgan.srgan.training_limits import TrainingLimits
from tests.srgan.pictures import write_waves

CONFIG: dict[str, Any] = {
    "data": {"hr": "images/waves", "crop": 64},
    "losses": {"rank": {"weight": 0.5, "rankers": [{"spec": "own"}]}},
}


@contextmanager
def trainings(root: Path, rankers: Mapping[str, str]) -> Iterator[TrainingJobs[dict[str, Any]]]:
    """Takes requests and begins none of them."""
    at = DataRoot(root)
    kind = server._trainings(rankers, TrainingLimits())
    jobs = Supervisor(at, kind.service, {kind.job: "nothing"}, JobLimits(running=0))
    jobs.start()
    yield TrainingJobs(kind, at, jobs)
    jobs.stop()


def test_a_repeated_request_is_the_same_whatever_has_changed_since(tmp_path: Path) -> None:
    write_waves(tmp_path / "images" / "waves", 1)
    with trainings(tmp_path, {"own": "unix:/srv/own.sock/own"}) as asked:
        name = asked.submit("new", CONFIG, "mine").id
        shutil.rmtree(tmp_path / "images")
        assert asked.submit("new", CONFIG, "mine").id == name
    for rankers in ({"own": "unix:/srv/moved.sock/own"}, {}):
        with trainings(tmp_path, rankers) as asked:
            assert asked.submit("new", CONFIG, "mine").id == name
            for generator, other in (("new", {**CONFIG, "run": {"seed": 2}}), ("other", CONFIG)):
                with pytest.raises(InvalidInput, match=f"operations/{name} has it") as caught:
                    asked.submit(generator, other, "mine")
                assert caught.value.field == "request_id"
