"""A dataset comes from the models that were there when its build began, or there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import ModelReplaced
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.loaded_models import LoadedModels, open_models
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.rankdata.building.executors import _Plan
from ranksrgan.rankdata.building.source import SourceWork
from ranksrgan.srgan import GeneratorUpscaler
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.opening import upscaler_of
from ranksrgan.srgan.upscaling.picture import upscale_picture
from tests.contracts.repositories import put_generator

Models = LoadedModels[GeneratorUpscaler]
Served = tuple[Path, Models, Callable[[str], BuildConfig]]


@pytest.fixture
def served(tmp_path: Path, hr: Path) -> Iterator[Served]:
    """A folder of models, what a server has loaded of it, and datasets with it as a level."""
    root = tmp_path / "models"
    put_generator(root, "x4", 1, seed=1)
    models = open_models(RepositorySettings(root=root), upscaler_of, GeneratorUpscaler.named)
    assert models is not None
    servicer = SuperResolutionServicer(UpscalerCatalog({}, models), upscale_picture)
    server = start_server(f"unix:{tmp_path}/s", [servicer])

    def config(name: str) -> BuildConfig:
        levels = {"hr": "hr", "sr": f"unix://{tmp_path}/s/x4"}
        settings = {"crop": 32, "stride": 30, "val": 0.25, "metric": "rmse"}
        paths = {"hr": hr, "output": tmp_path / name, "levels": levels}
        return BuildConfig.model_validate(paths | settings)

    yield root, models, config
    server.stop()


def images_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def after_the_first_source(change: Callable[[], object]) -> Callable[[int, int, str], None]:
    """Progress of a build that changes something on the way, once."""
    left = [change]

    def progress(done: int, total: int, source: str) -> None:
        if 2 <= done < total and left:
            left.pop()()

    return progress


def test_a_newer_version_does_not_take_over(served: Served) -> None:
    root, models, config = served
    expected = images_of(build(config("before")).folder)
    assert expected

    def change() -> None:
        put_generator(root, "x4", 2, seed=2)
        models.load("x4")

    found = build(config("meanwhile"), progress=after_the_first_source(change))
    assert models.get("x4:2") is not None
    assert images_of(found.folder) == expected
    assert images_of(build(config("after")).folder) != expected


def test_other_weights_end_the_build(served: Served) -> None:
    root, models, config = served

    def change() -> None:
        put_generator(root, "x4", 1, seed=2)
        models.reload("x4")

    with pytest.raises(ModelReplaced, match="x4:1 has other weights than when it was opened"):
        build(config("out"), progress=after_the_first_source(change))
    assert not (config("out").output / "dataset.json").exists()


def test_workers_open_the_same(served: Served) -> None:
    root, models, config = served
    plan = _Plan.of(SourceWork(config("out")))
    plan.open()
    put_generator(root, "x4", 1, seed=2)
    models.reload("x4")
    with pytest.raises(ModelReplaced, match="another one than when the build began"):
        plan.open()
