"""The work of a build's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput, RequestCancelled, UnknownName
from ranksrgan.contracts.operations.job_process import JobContext
from ranksrgan.contracts.operations.jobs import JobFolder, JobRequest
from ranksrgan.contracts.pairs import RankDatasetInfo
from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.job import work

CONFIG: dict[str, Any] = {
    "hr": "images/faces",
    "levels": ["blurred=mild", "hr=hr"],
    "metric": "rmse",
    "crop": 48,
    "stride": 48,
}


@pytest.fixture
def root(hr: Path) -> DataRoot:
    folder = hr.parent / "root"
    (folder / "images").mkdir(parents=True)
    hr.rename(folder / "images" / "faces")
    return DataRoot(folder)


def job(root: DataRoot, config: dict[str, Any], dataset: str = "datasets/new") -> JobContext:
    folder = JobFolder(root.folder / "operations" / "rankdata-000001-00000000")
    request = {"config": config, "upscalers": {"mild": "bicubic?scale=4"}}
    folder.write_request(
        JobRequest(
            kind="BuildRankDataset", target=dataset, request=request, request_id="", created=0.0
        )
    )
    return JobContext(folder, root)


class Reports:
    """Progress as it was reported; the work is stopped after some of it."""

    def __init__(self, context: JobContext, stop_after: int = 1000) -> None:
        self.seen: list[tuple[int, int, str]] = []
        self._stop_after = stop_after
        context.report = self  # type: ignore[method-assign]

    def __call__(self, done: int, total: int, **facts: Any) -> None:
        self.seen.append((done, total, facts["source"]))
        if len(self.seen) == self._stop_after:
            raise RequestCancelled("stopped")


def test_the_result_tells_of_the_dataset(root: DataRoot) -> None:
    context = job(root, CONFIG)
    reports = Reports(context)
    info = RankDatasetInfo.model_validate(work(context))
    assert (info.name, info.crop, info.levels) == ("datasets/new", 48, ("blurred", "hr"))
    dataset = RankDataset.open(root.folder / "datasets" / "new")
    assert sum(info.contents.values()) == len(dataset.contents)
    assert reports.seen[-1][:2] == (8, 8)
    assert {source for _, _, source in reports.seen} == {"astronaut", "chelsea", "coffee", "rocket"}


def test_it_goes_on_where_it_was_stopped(root: DataRoot) -> None:
    stopped = job(root, CONFIG)
    Reports(stopped, stop_after=5)
    with pytest.raises(RequestCancelled):
        work(stopped)
    assert not (root.folder / "datasets" / "new").exists()
    context = job(root, CONFIG)
    reports = Reports(context)
    work(context)
    assert reports.seen[0] == (4, 8, "")


def test_a_build_that_was_given_up_makes_room(root: DataRoot) -> None:
    stopped = job(root, CONFIG)
    Reports(stopped, stop_after=5)
    with pytest.raises(RequestCancelled):
        work(stopped)
    other = job(root, {**CONFIG, "crop": 40})
    assert work(other)["crop"] == 40


def test_a_complete_dataset_stays(root: DataRoot) -> None:
    result = work(job(root, CONFIG))
    record = root.folder / "datasets" / "new" / "dataset.json"
    made = record.stat().st_ino
    assert work(job(root, CONFIG)) == result
    with pytest.raises(InvalidInput, match="already holds a dataset, another one"):
        work(job(root, {**CONFIG, "crop": 40}))
    assert record.stat().st_ino == made


def test_names_are_looked_up_when_it_begins(root: DataRoot) -> None:
    (root.folder / "images" / "faces").rename(root.folder / "images" / "portraits")
    with pytest.raises(UnknownName, match="there is no images/faces"):
        work(job(root, CONFIG))
    with pytest.raises(InvalidInput):
        work(job(root, {**CONFIG, "hr": "images/portraits"}, dataset="elsewhere/new"))
