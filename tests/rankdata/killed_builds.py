"""Builds that are killed at every moment at which they touch the file system.

Run by test_build_resume.py in a process of its own, since it forks: ``killed_builds.py FOLDER``.
Writes how many such moments a build has.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ranksrgan.contracts import provenance
from ranksrgan.rankdata import BuildConfig, RankDataset, build
from ranksrgan.rankdata.folder import BuildingFolder

LEVELS = {"hr": "hr", "blurred": "blur:1"}
CALLS = ("mkdir", "rename", "replace", "rmdir", "unlink")

# Replacing a dataset differs from making one in the last calls only.
LAST_CALLS = 25


def main(root: Path) -> None:
    # Nothing here depends on what takes most of the time.
    provenance.git_revision = lambda: None
    provenance.versions = dict
    os.fsync = lambda handle: None
    wanted = _config(root, "straight")
    assert _in_child(lambda: build(wanted)) == 0
    old = _config(root, "old", stride=5)
    assert _in_child(lambda: build(old)) == 0
    moments = 0
    for replacing in (False, True):
        moment = max(0, moments - LAST_CALLS) if replacing else 0
        while True:
            config = _config(root, f"{replacing}-{moment}")
            if replacing:
                shutil.copytree(old.output, config.output)
            status = _in_child(lambda c=config, m=moment, r=replacing: _build_until(m, c, r))
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
            assert _in_child(lambda c=config, r=replacing: _check(c, wanted, old, r)) == 0
            shutil.rmtree(config.output)
            moment += 1
        moments = moment
    sys.stdout.write(f"{moments}\n")


def _config(root: Path, name: str, **changes: Any) -> BuildConfig:
    settings = {"crop": 16, "stride": 10, "val": 0.5, "metric": "rmse", "scale": 1, **changes}
    return BuildConfig(hr=root / "hr", output=root / name, levels=LEVELS, **settings)


def _in_child(work: Callable[[], object]) -> int:
    """Run in a forked process; its exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _build_until(moment: int, config: BuildConfig, overwrite: bool) -> None:
    """Build, but die before the call of that number."""
    calls = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return real(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
    build(config, overwrite=overwrite)


def _check(config: BuildConfig, wanted: BuildConfig, old: BuildConfig, replacing: bool) -> None:
    """What a killed build leaves, and that the next one goes on from it."""
    right = _files(wanted.output)
    building = BuildingFolder(config.output)
    for path in building.dataset.rglob("[!.]*.png"):
        assert path.read_bytes() == right[str(path.relative_to(building.dataset))]
    finished = len(list(building.path.glob("sources/[!.]*.json")))
    if replacing and config.output.exists():
        RankDataset.open(config.output, check_hashes=True)
        assert _files(config.output) in (_files(old.output), right)
    first: list[int] = []
    # Where the old dataset is gone the new one was ready, and only has to take its place.
    still_old = config.output.exists() and _files(config.output) != right
    build(config, overwrite=still_old, progress=lambda done, _, __: first.append(done))
    if finished and first:
        assert first[0] == finished * len(LEVELS)
    assert _files(config.output) == right
    assert not building.path.exists()


def _files(folder: Path) -> dict[str, bytes]:
    """What is in a dataset, but for what tells of its making."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("dataset.json", "config.yaml")
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
