"""Builds that stop midway: what is left, and that the next one goes on from it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, atomic
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, LimitExceeded
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.rankdata import BuildConfig, RankDataset, build
from ranksrgan.rankdata.building import assemble as build_assemble
from ranksrgan.rankdata.building.executors import Executor
from ranksrgan.rankdata.folder import BuildingFolder, locked_building_folder

LEVELS = {"hr": "hr", "sr": "bicubic", "noisy": "noise:20"}
SOURCES = ("astronaut", "chelsea", "coffee", "rocket")


def _config(hr: Path, **changes: object) -> BuildConfig:
    settings: dict[str, object] = {"crop": 32, "stride": 30, "val": 0.25, "metric": "rmse"}
    paths = {"hr": hr, "output": hr.parent / "out", "levels": LEVELS}
    return BuildConfig.model_validate(paths | settings | changes)


class _Brightness:
    """Mean brightness; fails at call number ``fails_at`` and counts the others."""

    info = ScorerInfo("mean", "1", True, False, False, 1)

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.calls = 0

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        if self.calls == self.fails_at:
            raise RuntimeError("the power is gone")
        self.calls += len(images) > 1  # one alone is what a build tries the crop's size with
        return images.double().mean((1, 2, 3))


def _stop_in(source: int, config: BuildConfig) -> None:
    """Finish the sources before, and one level of that one."""
    with pytest.raises(RuntimeError, match="power"):
        build(config, scorer=_Brightness(source * len(LEVELS) + 1))


def _files(folder: Path) -> dict[str, bytes]:
    """What is in a dataset, but for what tells of its making."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("dataset.json", "config.yaml")
    }


def test_finished_sources_are_not_worked_on_again(hr: Path) -> None:
    straight = _config(hr, output=hr.parent / "straight")
    build(straight, scorer=_Brightness())
    config = _config(hr)
    _stop_in(2, config)
    steps: list[tuple[int, int, str]] = []
    rest = _Brightness()
    build(config, scorer=rest, progress=lambda *step: steps.append(step))
    assert rest.calls == 2 * len(LEVELS)
    assert steps[0] == (6, 12, "")
    assert steps[1:] == [(done, 12, SOURCES[(done - 1) // 3]) for done in range(7, 13)]
    assert _files(config.output) == _files(straight.output)
    ours, theirs = (RankDataset.open(c.output).record for c in (config, straight))
    assert ours.identity == theirs.identity
    assert ours.counts == theirs.counts
    assert not BuildingFolder(config.output).path.exists()


def test_it_goes_on_where_its_folder_was_moved(hr: Path) -> None:
    _stop_in(2, _config(hr))
    moved = hr.parent.rename(hr.parent.with_name(f"{hr.parent.name}_moved"))
    rest = _Brightness()
    build(_config(moved / "hr"), scorer=rest)
    assert rest.calls == 2 * len(LEVELS)


def test_source_that_has_changed_is_worked_on_again(hr: Path) -> None:
    config = _config(hr)
    _stop_in(3, config)
    pixels = read_image(hr / "chelsea.png").colour
    write_image(hr / "chelsea.png", Picture(pixels[::-1].copy()))
    rest = _Brightness()
    build(config, scorer=rest)
    assert rest.calls == 2 * len(LEVELS)  # chelsea and rocket
    straight = _config(hr, output=hr.parent / "straight")
    build(straight, scorer=_Brightness())
    assert _files(config.output) == _files(straight.output)


def test_finished_result_that_has_changed_is_taken_anew(hr: Path) -> None:
    results = hr.parent / "results"
    for path in hr.iterdir():
        write_image(results / path.name, read_image(path))
    config = _config(hr, levels=LEVELS | {"late": str(results)})
    with pytest.raises(RuntimeError, match="power"):
        build(config, scorer=_Brightness(9))
    pixels = read_image(hr / "chelsea.png").colour
    write_image(results / "chelsea.png", Picture(255 - pixels))
    rest = _Brightness()
    build(config, scorer=rest)
    assert rest.calls == 3 * 4  # chelsea and the two that were missing
    RankDataset.open(config.output, check_hashes=True)
    scores = {c.source: c.scores for c in RankDataset.open(config.output).contents}
    assert scores["coffee"][0] == scores["coffee"][3]
    assert scores["chelsea"][0] != scores["chelsea"][3]


def test_source_that_is_gone_has_no_part(hr: Path) -> None:
    config = _config(hr)
    _stop_in(3, config)
    (hr / "astronaut.png").unlink()
    summary = build(config, scorer=_Brightness())
    assert summary.counts.sources == 3
    assert not list(config.output.rglob("*astronaut*"))


def test_source_that_loses_its_crops_leaves_no_image(hr: Path) -> None:
    config = _config(hr, min_sharpness=0.5)
    _stop_in(3, config)
    write_image(hr / "chelsea.png", Picture(read_image(hr / "chelsea.png").colour // 255))
    summary = build(config, scorer=_Brightness())
    assert summary.counts.sources_without_kept_crop == 1
    assert not list(config.output.rglob("*chelsea*"))


def test_level_image_that_is_gone_is_made_again(hr: Path) -> None:
    config = _config(hr)
    _stop_in(2, config)
    (BuildingFolder(config.output).dataset / "levels" / "sr" / "astronaut.png").unlink()
    rest = _Brightness()
    build(config, scorer=rest)
    assert rest.calls == 3 * len(LEVELS)
    RankDataset.open(config.output, check_hashes=True)


def test_damaged_result_is_named(hr: Path) -> None:
    config = _config(hr)
    _stop_in(2, config)
    result = BuildingFolder(config.output).result("astronaut")
    result.write_text(result.read_text()[:50])
    with pytest.raises(InvalidDataset, match=r"astronaut\.json is damaged"):
        build(config, scorer=_Brightness())
    result.unlink()
    build(config, scorer=_Brightness())


def test_other_settings_do_not_go_on_from_there(hr: Path) -> None:
    _stop_in(2, _config(hr))
    building = BuildingFolder(_config(hr).output)
    before = _files(building.path)
    with pytest.raises(
        InvalidInput, match=r"unfinished build .*\(config\.stride: 30 there, 60 now\); --force"
    ):
        build(_config(hr, stride=60), scorer=_Brightness())
    with pytest.raises(InvalidInput, match=r'config\.metric: "mean" there, "rmse" now'):
        build(_config(hr))
    reordered = dict(reversed(LEVELS.items()))
    with pytest.raises(InvalidInput, match=r"config\.levels: "):
        build(_config(hr, levels=reordered), scorer=_Brightness())
    assert _files(building.path) == before
    build(_config(hr, stride=60), scorer=_Brightness(), overwrite=True)
    assert RankDataset.open(_config(hr).output).record.config["stride"] == 60
    assert not building.path.exists()


def test_build_that_has_finished_nothing_is_in_nobodys_way(hr: Path) -> None:
    config = _config(hr)
    building = BuildingFolder(config.output)
    building.path.mkdir()
    building.claim({"config": "of a build that was killed at once"}, discard=False)
    build(config)
    RankDataset.open(config.output)


def test_replacing_goes_on_too(hr: Path) -> None:
    build(_config(hr, stride=60))
    config = _config(hr)
    with pytest.raises(RuntimeError, match="power"):
        build(config, scorer=_Brightness(7), overwrite=True)
    rest = _Brightness()
    build(config, scorer=rest, overwrite=True)
    assert rest.calls == 2 * len(LEVELS)
    assert RankDataset.open(config.output).record.config["stride"] == 30


def test_two_builds_of_one_dataset_do_not_mix(hr: Path) -> None:
    config = _config(hr)
    with (
        locked_building_folder(config.output),
        pytest.raises(InvalidInput, match=r"another build of .*out is running"),
    ):
        build(config)
    assert not config.output.exists()
    build(config)


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_nothing_but_the_manifest_is_left_to_do(
    hr: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(build_assemble, "write_manifest", fail)
        with pytest.raises(RuntimeError, match="power"):
            build(_config(hr))
    build(_config(hr), executor=executor)
    RankDataset.open(_config(hr).output)


@contextmanager
def _disk_of(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk with room for so many files."""
    real = atomic.replacing
    left = [writes]

    @contextmanager
    def replacing(path: Path) -> Iterator[Path]:
        with real(path) as temporary:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            yield temporary

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "replacing", replacing)
        yield


def test_full_disk_is_told_and_what_is_finished_stays(
    hr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = _config(hr, output=hr.parent / "straight")
    build(straight, scorer=_Brightness())
    # The settings; of each source three levels and the result; manifest, config and record.
    for writes in (0, 1, 5, 7, 16, 17, 18, 19):
        config = _config(hr, output=hr.parent / f"{writes}")
        with (
            _disk_of(writes, monkeypatch),
            pytest.raises(LimitExceeded, match="is full; what is finished stays"),
        ):
            build(config, scorer=_Brightness())
        assert not config.output.exists()
        rest = _Brightness()
        build(config, scorer=rest)
        finished = min(max(writes - 1, 0) // 4, 4)
        assert rest.calls == (4 - finished) * len(LEVELS)
        assert _files(config.output) == _files(straight.output)


@pytest.mark.slow  # a service's build is killed in tests/rankdata/test_server.py
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_it_goes_on(hr: Path) -> None:
    for name in ("chelsea", "rocket"):
        (hr / f"{name}.png").unlink()
    for path in hr.iterdir():
        write_image(path, Picture(read_image(path).colour[:30, :26]))
    script = Path(__file__).with_name("killed_builds.py")
    done = subprocess.run(
        [sys.executable, str(script), str(hr.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
