"""The same work in this process, in others, and on Ray."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, open_upscaler
from ranksrgan.contracts.errors import InternalError, InvalidImage, InvalidInput, NotSupported
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.rankdata.building.executors import Executor
from ranksrgan.rankdata.folder import BuildingFolder

pytestmark = pytest.mark.timeout(900)  # a process takes long to start where many run

# Takes a bicubic result for its own, but where the upper left corner is red it dies (if `deadly` is
# there) or waits for ever, holding `alive` locked.
UPSCALER = """
import fcntl, os, signal, time
from pathlib import Path
from ranksrgan.contracts import open_upscaler

HERE = Path(__file__).parent

class Perilous:
    def __init__(self, scale):
        self._bicubic = open_upscaler(f"bicubic?scale={scale}")
        self.info = self._bicubic.info

    def upscale(self, images):
        red, green = images[0, :2, 0, 0].tolist()
        if red > 0.9 and green < 0.1:
            if (HERE / "deadly").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if (HERE / "endless").exists():
                with (HERE / "alive").open("w") as alive:
                    fcntl.flock(alive, fcntl.LOCK_EX)
                    (HERE / "reached").touch()
                    while True:
                        time.sleep(1)
        return self._bicubic.upscale(images)

def open_perilous(name, options):
    return Perilous(int(options.get("scale", "4")))
"""


@pytest.fixture
def perilous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs an upscaler of that name, for this process and those it starts."""
    folder = tmp_path / "installed"
    about = folder / "perilous-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "perilous.py").write_text(UPSCALER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: perilous\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[ranksrgan.upscalers]\nperilous = perilous:open_perilous\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


def _redden(path: Path) -> None:
    pixels = read_image(path).colour.copy()
    pixels[:16, :16] = (255, 0, 0)
    write_image(path, Picture(pixels))


def _config(hr: Path, name: str = "out", **changes: object) -> BuildConfig:
    levels = {"hr": "hr", "sr": "bicubic", "noisy": "noise:9:sr", "half": "interpolate:noisy:0.5"}
    settings: dict[str, object] = {"crop": 32, "stride": 30, "val": 0.25, "metric": "rmse"}
    paths = {"hr": hr, "output": hr.parent / name, "levels": levels}
    return BuildConfig.model_validate(paths | settings | changes)


def _content(folder: Path) -> dict[str, Any]:
    """Everything in a dataset's folder but its own place and the story of its making."""
    files: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    record = json.loads(files.pop("dataset.json"))
    del record["run"], record["config"]["output"], files["config.yaml"]
    return files | {"record": record}


def _check_equal(hr: Path, executor: Executor, workers: int) -> None:
    twin = (hr / "coffee.png").read_bytes()
    (hr / "coffee-again.png").write_bytes(twin)
    settings = {"further": ["psnr"], "max_crops": 5, "min_sharpness": 1.0}
    local, other = _config(hr, "local", **settings), _config(hr, "other", **settings)
    expected = build(local)
    steps: list[tuple[int, int]] = []
    summary = build(
        other,
        executor=executor,
        workers=workers,
        progress=lambda done, total, _: steps.append((done, total)),
    )
    assert steps == [(4 * source, 20) for source in range(1, 6)]
    assert _content(other.output) == _content(local.output)
    assert summary.counts == expected.counts
    assert summary.crops == expected.crops
    assert summary.duplicates == (("coffee", "coffee-again"),)


def test_processes_make_the_same_to_the_byte(hr: Path) -> None:
    _check_equal(hr, "processes", 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's of itself
def test_ray_makes_the_same_to_the_byte(hr: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    _check_equal(hr, "ray", 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's of itself
def test_an_error_on_ray_is_the_same_error(hr: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    (hr / "coffee.png").write_bytes((hr / "coffee.png").read_bytes()[:900])
    with pytest.raises(InvalidImage, match=r"coffee\.png is damaged"):
        build(_config(hr), executor="ray", workers=1)


def test_an_error_in_a_process_is_the_same_error(hr: Path) -> None:
    (hr / "coffee.png").write_bytes((hr / "coffee.png").read_bytes()[:900])
    with pytest.raises(InvalidImage, match=r"coffee\.png is damaged") as caught:
        build(_config(hr), executor="processes", workers=1)
    assert caught.value.field == str(hr / "coffee.png")
    finished = (BuildingFolder(hr.parent / "out").path / "sources").iterdir()
    assert sorted(path.stem for path in finished) == ["astronaut", "chelsea"]


def test_worker_that_dies_is_told_with_its_source(hr: Path, perilous: Path) -> None:
    _redden(hr / "coffee.png")
    levels = {"hr": "hr", "sr": "perilous"}
    straight, config = _config(hr, "straight", levels=levels), _config(hr, levels=levels)
    build(straight)
    (perilous / "deadly").touch()
    with pytest.raises(InternalError, match=r"worked on coffee died \(exit code -9") as caught:
        build(config, executor="processes", workers=1)
    assert caught.value.field == "coffee"
    (perilous / "deadly").unlink()
    steps: list[int] = []
    build(config, progress=lambda done, _, __: steps.append(done))
    assert steps[0] == 2 * len(levels)  # astronaut and chelsea were finished
    assert _content(config.output) == _content(straight.output)


def test_workers_end_with_a_killed_parent(hr: Path, perilous: Path) -> None:
    # Otherwise they would write on in its name, while the next build goes on from the same place.
    _redden(hr / "astronaut.png")
    (perilous / "endless").touch()
    config = _config(hr, levels={"hr": "hr", "sr": "perilous"})
    script = (
        "import sys; from ranksrgan.rankdata import *\n"
        "if __name__ == '__main__':\n"
        "    build(BuildConfig.model_validate_json(sys.argv[1]), executor='processes', workers=1)\n"
    )
    (perilous / "parent.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(perilous / "parent.py"), config.model_dump_json()]
    )
    try:
        _wait_until((perilous / "reached").exists)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    with (perilous / "alive").open("a") as alive:
        _wait_until(lambda: _can_lock(alive.fileno()))
    (perilous / "endless").unlink()
    build(config)


def _can_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(condition: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class _Brightness:
    info = ScorerInfo("mean", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images.double().mean((1, 2, 3))


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_objects_do_not_travel(hr: Path, executor: Executor) -> None:
    with pytest.raises(InvalidInput, match="stay in this process"):
        build(_config(hr), scorer=_Brightness(), executor=executor)
    with pytest.raises(InvalidInput, match="stay in this process"):
        build(_config(hr), upscalers={"sr": open_upscaler("bicubic")}, executor=executor)


@pytest.mark.parametrize(
    ("executor", "workers", "message"),
    [
        ("threads", None, "executor=threads: one of local, processes, ray"),
        ("processes", 0, "workers=0: 1 or more"),
        ("local", 2, "workers=2: .* not with executor=local"),
    ],
)
def test_impossible_executors(hr: Path, executor: Any, workers: int | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build(_config(hr), executor=executor, workers=workers)
    assert {path.name for path in hr.parent.iterdir()} == {"hr"}


def test_ray_that_is_not_installed(hr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotSupported, match=r"pip install 'packages/rankdata\[ray\]'"):
        build(_config(hr), executor="ray")
