"""The process of a build that a client has asked for: ``python -m ranksrgan.rankdata.job FOLDER``.

The supervisor of ``ranksrgan-rankdata serve`` starts it. A build goes on where another process has
left it, and one that is complete already is the result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ranksrgan.contracts.operations.job_process import JobContext, run_job
from ranksrgan.rankdata.building.build import build
from ranksrgan.rankdata.building.request import read_config
from ranksrgan.rankdata.catalog import DATASETS, describe
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.folder import holds_dataset


def work(job: JobContext) -> dict[str, Any]:
    """Build what ``job.request`` says: a client's ``config``, and the operator's ``upscalers``.

    Returns:
        The fields of the dataset's `RankDatasetInfo`, JSON.

    Raises:
        RankSRGANError: see `read_config` and `build`.
    """
    target = job.root.place(job.target, DATASETS, "dataset_id")
    config = read_config(job.request["config"], job.root, job.request["upscalers"], target)

    def progress(done: int, total: int, source: str) -> None:
        job.report(done, total, source=source)

    # Nobody else builds this dataset, so an unfinished one with other settings is a build that was
    # given up. A complete one is never replaced.
    build(config, overwrite=not holds_dataset(target), progress=progress)
    return describe(job.target, RankDataset.open(target)).model_dump(mode="json")


if __name__ == "__main__":
    raise SystemExit(run_job(Path(sys.argv[1]), work))
