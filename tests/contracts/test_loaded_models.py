"""What of a repository serves: loading beside, swapping, failing without loss."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidCheckpoint,
    InvalidConfig,
    InvalidInput,
    UnknownName,
)
from ranksrgan.contracts.serving.loaded_models import LoadedModels, open_models
from ranksrgan.contracts.serving.model_repository import ModelRepository
from ranksrgan.contracts.serving.model_status import ModelState, VersionStatus
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.ranker import Ranker, RankerCatalog, load_ranker
from ranksrgan.ranker.opening import ranker_of
from ranksrgan.srgan import ARCHITECTURES, GeneratorUpscaler, open_generator
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.network_files import network_of
from ranksrgan.srgan.upscaling.opening import upscaler_of
from tests.contracts.repositories import put_generator, put_ranker

IMAGES = torch.rand((1, 3, 9, 7), generator=torch.Generator().manual_seed(0))
PATIENCE = 120.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    put_generator(folder, "x4", 1, seed=1)
    put_generator(folder, "x4", 2, seed=2)
    return folder


def loaded(root: Path) -> LoadedModels[GeneratorUpscaler]:
    models = LoadedModels(ModelRepository(root), upscaler_of, GeneratorUpscaler.named)
    models.refresh()
    return models


def states(models: LoadedModels[GeneratorUpscaler], name: str = "x4") -> dict[int, str]:
    (status,) = (status for status in models.statuses() if status.name == name)
    return {version.version: version.state.value for version in status.versions}


def version_of(
    models: LoadedModels[GeneratorUpscaler] | LoadedModels[Ranker], version: int
) -> VersionStatus:
    (found,) = (
        one for status in models.statuses() for one in status.versions if one.version == version
    )
    return found


def test_the_highest_version_has_the_name(root: Path) -> None:
    catalog = UpscalerCatalog({}, loaded(root))
    for name, version in (("x4", 2), ("x4:1", 1), ("x4:2", 2)):
        upscaler = catalog.open(name)
        local = open_generator(str(root / f"x4/{version}/model.safetensors"), {})
        assert torch.equal(upscaler.upscale(IMAGES), local.upscale(IMAGES))
        assert upscaler.info.name == name
        assert upscaler.info.model_version == str(version)
        assert upscaler.info.parameters_hash == local.info.parameters_hash
    assert [info.name for info in catalog.infos()] == ["x4", "x4:1"]


@pytest.mark.parametrize("name", ["x4:3", "x4:", "X4", "x4/1", "../x4", "x4\0", "y" * 10_000])
def test_other_names_are_unknown(root: Path, name: str) -> None:
    with pytest.raises(UnknownName, match="x4") as caught:
        UpscalerCatalog({}, loaded(root)).open(name)
    assert len(str(caught.value)) < 500


def test_facts_about_a_version(root: Path) -> None:
    status = version_of(loaded(root), 2)
    path = root / "x4/2/model.safetensors"
    assert (status.state, status.reason) == (ModelState.READY, "")
    assert status.architecture == "srresnet"
    assert status.size == path.stat().st_size
    assert status.loaded_at > path.stat().st_mtime - 1
    assert status.info is not None
    assert status.info.parameters_hash == open_generator(str(path), {}).info.parameters_hash


def test_a_reload_takes_the_name_and_leaves_the_old_to_its_holders(root: Path) -> None:
    models = loaded(root)
    old = models.get("x4")
    assert old is not None
    before = old.upscale(IMAGES)
    put_generator(root, "x4", 2, seed=5)
    put_generator(root, "x4", 3, seed=6)
    models.reload("x4")
    new = models.get("x4")
    assert new is not None
    assert new.info.model_version == "3"
    assert torch.equal(old.upscale(IMAGES), before)
    assert not torch.equal(new.upscale(IMAGES), before)
    second = models.get("x4:2")
    assert second is not None
    assert not torch.equal(second.upscale(IMAGES), before)


def test_the_old_weights_go_with_their_last_holder(root: Path) -> None:
    weights: list[weakref.ref[torch.Tensor]] = []

    def open_watched(content: Weights, options: Mapping[str, str]) -> GeneratorUpscaler:
        network = network_of(content, ARCHITECTURES)
        weights.append(weakref.ref(next(network.parameters())))
        return GeneratorUpscaler(network)

    models = LoadedModels(ModelRepository(root), open_watched, GeneratorUpscaler.named)
    models.refresh()
    held = models.get("x4:1")
    models.reload("x4:1")
    (old, _, new) = weights
    gc.collect()
    assert held is not None
    assert old() is not None
    del held
    gc.collect()
    assert old() is None
    assert new() is not None


def test_a_damaged_version_leaves_the_old_one_serving(root: Path) -> None:
    models = loaded(root)
    serving = models.get("x4")
    path = root / "x4/2/model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidCheckpoint, match=r"x4/2/model\.safetensors is damaged"):
        models.reload("x4:2")
    assert models.get("x4") is serving
    status = version_of(models, 2)
    assert status.state is ModelState.READY
    assert "damaged" in status.reason
    put_generator(root, "x4", 2, seed=7)
    models.reload("x4")
    assert version_of(models, 2).reason == ""
    assert models.get("x4") is not serving


def test_a_file_replaced_while_it_is_loaded_leaves_the_old_one_serving(root: Path) -> None:
    replace = False

    def open_slowly(weights: Weights, options: Mapping[str, str]) -> GeneratorUpscaler:
        if replace:
            put_generator(root, "x4", 2, seed=8)
        return upscaler_of(weights, options)

    models = LoadedModels(ModelRepository(root), open_slowly, GeneratorUpscaler.named)
    models.refresh()
    serving = models.get("x4")
    replace = True
    with pytest.raises(InvalidCheckpoint, match="replaced or written while it was loaded"):
        models.reload("x4:2")
    assert models.get("x4") is serving
    replace = False
    models.refresh()
    new = models.get("x4")
    assert new is not None
    assert serving is not None
    assert new.info.parameters_hash != serving.info.parameters_hash


def test_a_new_version_that_fails_does_not_take_the_name(root: Path) -> None:
    models = loaded(root)
    serving = models.get("x4")
    bad = put_generator(root, "x4", 3, seed=1)
    bad.write_bytes(b"no weights")
    with pytest.raises(InvalidCheckpoint):
        models.load("x4")
    assert models.get("x4") is serving
    assert states(models) == {1: "ready", 2: "ready", 3: "failed"}
    assert "x4/3" in version_of(models, 3).reason


def test_another_kind_is_refused(root: Path) -> None:
    put_ranker(root, "niqe", 1, seed=1)
    models = loaded(root)
    assert states(models, "niqe") == {1: "failed"}
    with pytest.raises(InvalidCheckpoint, match="holds a ranker; a generator is wanted"):
        models.load("niqe")


def test_a_name_goes_on_meaning_one_scale(root: Path) -> None:
    models = loaded(root)
    put_generator(root, "x4", 3, seed=3, scale=2)
    with pytest.raises(InvalidCheckpoint, match="the scale is 2, and with x4:1"):
        models.load("x4")
    assert models.get("x4:3") is None
    models.unload("x4")
    models.load("x4:3")
    new = models.get("x4")
    assert new is not None
    assert new.info.scale == 2


def test_a_name_goes_on_meaning_one_direction(tmp_path: Path) -> None:
    put_ranker(tmp_path, "niqe", 1, seed=1)
    models = LoadedModels(ModelRepository(tmp_path), ranker_of, Ranker.named)
    assert models.refresh() == []
    put_ranker(tmp_path, "niqe", 1, seed=1, higher_is_better=True)
    with pytest.raises(InvalidCheckpoint, match="higher is better, and with niqe:1"):
        models.reload("niqe")
    assert version_of(models, 1).info == models.get("niqe:1").info  # type: ignore[union-attr]
    assert "higher is better" in version_of(models, 1).reason


def test_rankers_and_their_options(tmp_path: Path) -> None:
    path = put_ranker(tmp_path, "niqe", 4, seed=1)
    (tmp_path / "niqe/model.yaml").write_text("options: {device: cpu, higher_is_better: false}")
    models = LoadedModels(ModelRepository(tmp_path), ranker_of, Ranker.named)
    assert models.refresh() == []
    ranker, local = RankerCatalog({}, models).open("niqe"), load_ranker(path, device="cpu")
    images = torch.rand(2, 3, 40, 36)
    assert torch.equal(ranker.score(images), local.score(images))
    assert ranker.info.model_version == "4"
    assert version_of(models, 4).architecture == local._network.network.architecture
    (tmp_path / "niqe/model.yaml").write_text("options: {head: ma}")
    with pytest.raises(UnknownName, match="no head 'ma'"):
        models.reload("niqe")
    assert models.get("niqe") is not None


def test_unloaded_is_unloaded_until_it_is_loaded(root: Path) -> None:
    models = loaded(root)
    assert models.unload("x4:2").versions[1].state is ModelState.UNLOADED
    default = models.get("x4")
    assert default is not None
    assert default.info.model_version == "1"
    put_generator(root, "x4", 2, seed=9)
    models.refresh()
    models.reload("x4")
    assert states(models) == {1: "ready", 2: "unloaded"}
    models.load("x4")
    assert states(models) == {1: "ready", 2: "ready"}
    models.unload("x4")
    assert models.get("x4") is None
    assert models.get("x4:1") is None
    models.reload("x4:1")
    assert states(models) == {1: "ready", 2: "unloaded"}


def test_pinned_versions_are_all_that_serve(root: Path) -> None:
    (root / "x4/model.yaml").write_text("versions: [1]")
    models = loaded(root)
    assert states(models) == {1: "ready"}
    with pytest.raises(UnknownName, match=r"model\.yaml leaves it out"):
        models.load("x4:2")
    (root / "x4/model.yaml").write_text("versions: [7]")
    with pytest.raises(InvalidConfig, match="names version 7"):
        models.reload("x4")
    assert states(models) == {1: "ready"}
    (root / "x4/model.yaml").write_text("versions: [2]")
    models.refresh()
    assert states(models) == {2: "ready"}
    (root / "x4/model.yaml").write_text("versions: []")
    assert models.refresh() == []
    assert (models.get("x4"), models.serving(), models.statuses()) == (None, [], [])
    (root / "x4/model.yaml").unlink()
    models.refresh()
    assert states(models) == {1: "ready", 2: "ready"}


def test_wrong_settings_leave_what_serves(root: Path) -> None:
    models = loaded(root)
    serving = models.get("x4")
    (root / "x4/model.yaml").write_text("option: {}")
    with pytest.raises(InvalidConfig, match="did you mean options"):
        models.reload("x4")
    assert models.get("x4") is serving
    assert "did you mean options" in models.statuses()[0].reason
    (root / "x4/model.yaml").unlink()
    models.refresh()
    assert models.statuses()[0].reason == ""
    assert models.get("x4") is serving  # nothing about it has changed


def test_files_that_go_take_nothing_away(root: Path) -> None:
    models = loaded(root)
    serving = models.get("x4")
    (root / "x4/2/model.safetensors").unlink()
    models.refresh()
    assert models.get("x4") is serving
    assert "there is no x4/2" in version_of(models, 2).reason
    (root / "x4").rename(root.with_name("elsewhere"))
    models.refresh()
    assert models.get("x4") is serving
    assert "there is no x4" in models.statuses()[0].reason
    models.unload("x4")
    models.refresh()
    assert models.statuses() == []


def test_what_was_refused_is_listed(root: Path) -> None:
    (root / "link").symlink_to(root / "x4")
    models = loaded(root)
    (status,) = (status for status in models.statuses() if status.name == "link")
    assert "follows no links" in status.reason
    assert status.versions == ()
    with pytest.raises(InvalidInput, match="follows no links"):
        models.load("link")


def test_what_was_not_foreseen_is_a_number(root: Path) -> None:
    def broken(weights: Weights, options: Mapping[str, str]) -> GeneratorUpscaler:
        raise RuntimeError("/secret/place")

    models = LoadedModels(ModelRepository(root), broken, GeneratorUpscaler.named)
    errors = models.refresh()
    assert [type(error) for error in errors] == [InternalError, InternalError]
    assert "secret" not in version_of(models, 1).reason
    assert "incident" in version_of(models, 1).reason


def test_a_model_that_makes_no_picture_is_not_ready(root: Path) -> None:
    path = root / "x4/3/model.safetensors"
    put_generator(root, "x4", 3, seed=1)
    from safetensors.torch import load_file, save_file

    tensors = {key: value * 1e30 for key, value in load_file(path).items()}
    save_file(tensors, path, {"kind": "generator", "architecture": "srresnet"})
    models = loaded(root)
    assert states(models) == {1: "ready", 2: "ready", 3: "failed"}
    assert "NaN or infinite" in version_of(models, 3).reason


def test_it_runs_once_before_it_takes_requests(root: Path) -> None:
    seen: list[tuple[tuple[int, ...], bool]] = []

    class Watched:
        def __init__(self, upscaler: GeneratorUpscaler) -> None:
            self.info = upscaler.info
            self._upscaler = upscaler

        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((tuple(images.shape), models.get("x4:1") is not None))
            return self._upscaler.upscale(images)

    (root / "x4/model.yaml").write_text("{warm_up: [12, 20], versions: [1]}")
    models: LoadedModels[Watched] = LoadedModels(
        ModelRepository(root),
        lambda weights, options: Watched(upscaler_of(weights, options)),
        lambda model, name, version: Watched(model._upscaler.named(name, version)),
    )
    models.refresh()
    assert seen == [((1, 3, 12, 20), False)]


def test_polling_loads_what_is_new(root: Path) -> None:
    arrived = threading.Event()

    def named(upscaler: GeneratorUpscaler, name: str, version: str) -> GeneratorUpscaler:
        if version == "3":
            arrived.set()
        return upscaler.named(name, version)

    models = LoadedModels(ModelRepository(root), upscaler_of, named)
    models.refresh()
    with models.polling(0.01):
        put_generator(root, "x4", 3, seed=3)
        assert arrived.wait(PATIENCE)
    assert states(models)[3] == "ready"
    assert not [thread for thread in threading.enumerate() if thread.name == "model-repository"]


def test_polling_outlives_a_repository_that_is_away(root: Path) -> None:
    arrived, failed = threading.Event(), threading.Event()

    class Watched(ModelRepository):
        def scan(self) -> tuple[list[str], dict[str, str]]:
            try:
                return super().scan()
            except OSError:
                failed.set()
                raise

    def named(upscaler: GeneratorUpscaler, name: str, version: str) -> GeneratorUpscaler:
        if version == "3":
            arrived.set()
        return upscaler.named(name, version)

    models = LoadedModels(Watched(root), upscaler_of, named)
    models.refresh()
    serving = models.get("x4")
    away = root.with_name("away")
    root.rename(away)
    with models.polling(0.01):
        assert failed.wait(PATIENCE)
        assert models.get("x4") is serving
        away.rename(root)
        put_generator(root, "x4", 3, seed=3)
        assert arrived.wait(PATIENCE)
    assert states(models)[3] == "ready"


def test_nothing_is_loaded_twice_by_looking(root: Path) -> None:
    models = loaded(root)
    before = [models.get(name) for name in ("x4", "x4:1", "x4:2")]
    models.refresh()
    models.load("x4")
    assert all(
        old is models.get(name) for old, name in zip(before, ("x4", "x4:1", "x4:2"), strict=True)
    )


def test_a_server_starts_with_what_can_be_loaded(root: Path) -> None:
    (root / "x4/1/model.safetensors").write_bytes(b"")
    settings = RepositorySettings(root=root)
    models = open_models(settings, upscaler_of, GeneratorUpscaler.named)
    assert models is not None
    assert states(models) == {1: "failed", 2: "ready"}
    (root / "x4/2/model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidCheckpoint, match="x4/1"):
        open_models(settings, upscaler_of, GeneratorUpscaler.named)


def test_an_empty_repository_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def start(**settings: object) -> object:
        return open_models(
            RepositorySettings.model_validate(settings), upscaler_of, GeneratorUpscaler.named
        )

    models = start(root=tmp_path)
    assert isinstance(models, LoadedModels)
    assert models.serving() == []
    assert "holds no model: NAME/VERSION/model.safetensors" in caplog.text
    assert start(root=tmp_path, manage=True) is not None
    assert start(root=tmp_path, poll=1) is not None
    assert start() is None


def test_one_name_stands_for_one_model(root: Path) -> None:
    local = open_generator(str(root / "x4/1/model.safetensors"), {})
    with pytest.raises(InvalidInput, match="x4 is a model of the repository too") as caught:
        UpscalerCatalog({"x4": local}, loaded(root))
    assert caught.value.field == "x4"
    catalog = UpscalerCatalog({"own": local}, loaded(root))
    assert [info.name for info in catalog.infos()] == ["own", "x4", "x4:1"]
    assert catalog.open("own").info.model_version == ""


def test_a_changed_file_of_the_same_size_and_time_is_seen(root: Path) -> None:
    models = loaded(root)
    path = root / "x4/2/model.safetensors"
    before = path.stat()
    old = models.get("x4")
    put_generator(root, "x4", 2, seed=11)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    models.refresh()
    assert models.get("x4") is not old
