"""What becomes of a client's request, without a server and without the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.rankdata import server
from ranksrgan.rankdata.building.limits import BuildLimits
from ranksrgan.rankdata.server import BUILD, Builds

CONFIG: dict[str, Any] = {
    "hr": "images/faces",
    "levels": ["enlarged=esrgan", "hr=hr"],
    "metric": "rmse",
    "crop": 48,
}


@contextmanager
def builds(root: Path, upscalers: Mapping[str, str]) -> Iterator[Builds]:
    """Takes requests and begins none of them."""
    at = DataRoot(root)
    jobs = Supervisor(at, "rankdata", {BUILD: "nothing"}, JobLimits(running=0))
    jobs.start()
    yield Builds(at, upscalers, jobs, BuildLimits())
    jobs.stop()


def test_a_repeated_request_is_the_same_whatever_has_changed_since(hr: Path) -> None:
    images = hr.parent / "images" / "faces"
    images.parent.mkdir()
    hr.rename(images)
    with builds(hr.parent, {"esrgan": "grpc://gpu:50053/esrgan"}) as asked:
        name = asked.submit("new", CONFIG, "mine").id
        images.rename(hr)
        assert asked.submit("new", CONFIG, "mine").id == name
    for upscalers in ({"esrgan": "grpc://other:50053/esrgan"}, {}):
        with builds(hr.parent, upscalers) as asked:
            assert asked.submit("new", CONFIG, "mine").id == name
            for dataset, other in (("new", {**CONFIG, "crop": 40}), ("other", CONFIG)):
                with pytest.raises(InvalidInput, match=f"operations/{name} has it") as caught:
                    asked.submit(dataset, other, "mine")
                assert caught.value.field == "request_id"


def test_clients_share_the_queue_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[JobLimits] = []
    monkeypatch.setattr(server, "Supervisor", lambda *what: made.append(what[-1]))
    monkeypatch.setattr(server.rpc, "serve", lambda settings, names, load: 0)
    settings = server.RankDataServerSettings.model_validate(
        {"listen": "127.0.0.1:0", "data_root": tmp_path, "client_limits": {"operations": 7}}
    )
    assert server.serve(settings) == 0
    assert made == [JobLimits(running=1, each=7)]
