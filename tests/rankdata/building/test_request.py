"""What a client may ask for: names only, looked up inside the data root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidConfig,
    InvalidInput,
    MissingAsset,
    UnknownName,
)
from ranksrgan.metrics.catalog import METRICS, options_of
from ranksrgan.rankdata import BuildConfig
from ranksrgan.rankdata.building.request import PLAIN_KEYS, check_metrics, read_config

CONFIG: dict[str, Any] = {"hr": "images/faces", "levels": ["low=bicubic", "hr=hr"]}
UPSCALERS = {"esrgan": "grpc://gpu:50053/esrgan", "own": "/srv/own.pth"}


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    folder = tmp_path / "root"
    for kind in ("images/faces", "images/results", "models/folder.pth", "datasets"):
        (folder / kind).mkdir(parents=True)
    for model in ("srgan.pth", "both.pth", "both.safetensors", "notes.txt"):
        (folder / "models" / model).touch()
    trained = folder / "generators" / "trained"
    trained.mkdir(parents=True)
    (trained / "generator.safetensors").touch()
    (folder / "generators" / "begun").mkdir()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key.pth").touch()
    (folder / "images" / "outside").symlink_to(secrets)
    (folder / "models" / "outside.pth").symlink_to(secrets / "key.pth")
    return DataRoot(folder)


def read(root: DataRoot, **changes: Any) -> BuildConfig:
    return read_config({**CONFIG, **changes}, root, UPSCALERS, root.folder / "datasets" / "new")


def level(root: DataRoot, spec: str) -> str:
    return read(root, levels=[f"first={spec}", "hr=hr"]).levels["first"]


def test_names_become_places_in_the_root(root: DataRoot) -> None:
    config = read(root, levels=["b=models/srgan", "a=images/results", "c=hr"], crop=64.0)
    assert config.hr == root.folder / "images" / "faces"
    assert config.output == root.folder / "datasets" / "new"
    assert config.levels == {
        "b": f"{root.folder}/models/srgan.pth",
        "a": f"{root.folder}/images/results",
        "c": "hr",
    }
    assert list(config.levels) == ["b", "a", "c"]
    assert config.crop == 64


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("hr", "hr"),
        ("bicubic", "bicubic"),
        ("interpolate:hr:0.5", "interpolate:hr:0.5"),
        ("blur:1.5", "blur:1.5"),
        ("noise:10:hr", "noise:10:hr"),
        ("jpeg:40", "jpeg:40"),
        ("esrgan", "grpc://gpu:50053/esrgan"),
        ("own", "/srv/own.pth"),
        ("srresnet", "srresnet"),
        ("models/srgan.pth", "ROOT/models/srgan.pth"),
        ("models/both", "ROOT/models/both.safetensors"),
        ("models/both.pth", "ROOT/models/both.pth"),
        ("generators/trained", "ROOT/generators/trained/generator.safetensors"),
    ],
)
def test_levels_that_a_client_may_name(root: DataRoot, spec: str, wanted: str) -> None:
    assert level(root, spec) == wanted.replace("ROOT", str(root.folder))


@pytest.mark.parametrize(
    "spec",
    [
        *("grpc://evil:1/model", "unix:///run/sr.sock/model", "unix:sr.sock/model"),
        *("https://evil/x.pth", "file:///etc/passwd", "/etc/passwd", "~/x.pth", "./images/faces"),
        *("../secrets/key.pth", "images/../../secrets", "models/../../secrets/key.pth"),
        *("images/faces/../../../secrets", "images/", "images", "models/", "images/.hidden"),
        *("images/faces/x", "models/a\0b", "datasets/new", "operations/x", "bicubic?scale=4"),
        *("srgan.pth", "generator", "srgan?device=cuda", "models/srgan?device=cuda", "", " hr"),
        *("generators/trained/generator.safetensors", "generators/../models/srgan", "generators"),
        *("esrgan?x=1", "ESRGAN", "blur", "blur:", "interpolate:/etc:0.5"),
    ],
)
def test_levels_that_a_client_may_not_name(root: DataRoot, spec: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        level(root, spec)
    assert caught.value.field in ("levels.first", "levels")
    assert "secrets" not in str(caught.value).replace(spec, "")


@pytest.mark.parametrize(
    "spec",
    [
        *("models/missing", "models/missing.pth", "models/notes", "models/notes.txt"),
        *("models/folder", "models/outside", "models/outside.pth", "images/missing"),
        *("images/outside", "generators/begun", "generators/missing"),
    ],
)
def test_levels_that_are_not_there(root: DataRoot, spec: str) -> None:
    with pytest.raises(UnknownName, match=f"there is no {spec}") as caught:
        level(root, spec)
    assert caught.value.field == "levels.first"


@pytest.mark.parametrize(
    ("hr", "error"),
    [
        *[(hr, InvalidInput) for hr in ("/etc", "images/..", "images/faces/x", "datasets/faces")],
        *[(hr, InvalidInput) for hr in ("", ".", "grpc://evil:1/x", 5, None, ["images/faces"])],
        ("images/missing", UnknownName),
        ("images/outside", UnknownName),
    ],
)
def test_images_that_a_client_may_not_name(
    root: DataRoot, hr: object, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        read(root, hr=hr)
    assert getattr(caught.value, "field", None) == "hr"


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"low": "bicubic", "hr": "hr"}, "a list of NAME=SPEC is wanted"),
        ("low=bicubic", "a list of NAME=SPEC is wanted"),
        (["low", "hr=hr"], "'low' is not NAME=SPEC"),
        (["low=bicubic", "low=hr"], "low is given twice"),
        ([{"low": "bicubic"}, "hr=hr"], "a text is wanted"),
        (["low=bicubic"], "at least 2"),
        (["a/b=bicubic", "hr=hr"], "letters, digits"),
        (["low=blur:-1", "hr=hr"], "WIDTH lies above 0"),
        (["low=blur:1:mid", "hr=hr"], "'mid' is not a level"),
    ],
)
def test_lists_of_levels_that_are_none(root: DataRoot, levels: object, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        read(root, levels=levels)
    assert str(caught.value.field).startswith("levels")


def test_the_output_is_not_to_be_chosen(root: DataRoot) -> None:
    with pytest.raises(InvalidInput, match="output: not to be chosen by a client") as caught:
        read(root, output="/tmp/x")
    assert caught.value.field == "output"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": 3}, "strides: unknown key; did you mean stride"),
        ({"crop": 64.5}, "crop"),
        ({"val": "much"}, "val"),
        ({"seed": None}, "seed"),
    ],
)
def test_what_the_configuration_refuses(
    root: DataRoot, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidConfig, match=message):
        read(root, **changes)


def test_no_other_key_holds_a_path_or_a_spec() -> None:
    """A new key of `BuildConfig` is closed to clients until somebody has thought about it."""
    looked_at = {"hr", "output", "levels", "metric", "further"}
    looked_at |= {"given"}  # objects, which no client has in a service
    assert PLAIN_KEYS | looked_at == set(BuildConfig.model_fields)
    assert not PLAIN_KEYS & looked_at


METRICS_THAT_ARE_NONE = [
    *("grpc://evil:1/niqe", "unix:///run/metrics.sock/niqe", "unix:niqe", "ranker.safetensors"),
    *("/srv/ranker.pth", "models/srgan.pth", "ranker", "ranker?path=/srv/x.pth", "niqe+/etc/x.pth"),
    *("niqe+(grpc://evil:1/ma)", "(unix:///run/x.sock/niqe)+rmse", "niqe+ranks/x.safetensors", ""),
    *("niqe?luma=/etc/passwd", "niqe?model=/etc/passwd", "ssim?border=../x", "niqe?border=4&x=1"),
]


@pytest.mark.parametrize("name", METRICS_THAT_ARE_NONE)
def test_metrics_that_a_client_may_not_name(root: DataRoot, name: str) -> None:
    for changes, field in (
        ({"metric": name}, "metric"),
        ({"further": ["rmse", name]}, "further.1"),
    ):
        with pytest.raises((InvalidInput, UnknownName)) as caught:
            check_metrics(read(root, **changes))
        assert caught.value.field == field
        assert caught.value.message.startswith(f"{field}: ")


def test_metrics_that_a_client_may_name(root: DataRoot) -> None:
    further = ["gmsd", "niqe+0.4*rmse?border=4", "ssim?luma=gray"]
    config = read(root, metric="niqe?border=4", further=further)
    check_metrics(config)
    assert config.further == tuple(further)
    # Where the order says what is better, the metric is not read.
    check_metrics(read(root, label="order", metric="grpc://evil:1/x"))


@pytest.mark.parametrize("metric", ["ma", "0.5*pi+niqe", "lpips?net=alex", "niqe+lpips"])
def test_metrics_whose_parameters_are_not_here(
    root: DataRoot, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for changes in ({"metric": metric}, {"metric": "rmse", "further": [metric]}):
        with pytest.raises(MissingAsset, match="is missing"):
            check_metrics(read(root, **changes))


def test_metrics_that_no_build_can_have(root: DataRoot) -> None:
    with pytest.raises(InvalidConfig, match="further: niqe is there already") as caught:
        check_metrics(read(root, metric="rmse", further=["niqe", "niqe"]))
    assert caught.value.field == "further"
    for crop in (32, 96, 191):
        with pytest.raises(ImageTooSmall, match=rf"{crop} .* for niqe: .*; crop=192 wo") as small:
            check_metrics(read(root, metric="rmse", further=["niqe"], crop=crop))
        assert small.value.field == "crop"


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_no_option_of_a_metric_takes_a_path(
    root: DataRoot, metric: str, random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one did, a client could have a file opened by it."""
    monkeypatch.setenv(VARIABLE, str(random_weights))
    texts = [option for option, default in options_of(metric).items() if isinstance(default, str)]
    for option in texts:
        for value in ("/etc/passwd", "key.pth", "..", ""):
            with pytest.raises(InvalidInput):
                check_metrics(read(root, metric=f"{metric}?{option}={value}"))
