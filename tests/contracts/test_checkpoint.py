from __future__ import annotations

import json
import pickle
import random
import stat
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import (
    halved,
    hash_tensors,
    list_keys,
    load_into,
    load_state,
    load_weights,
    save_state,
    save_weights,
    weights_in,
)
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.marker, "w"))


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "conv.bias": torch.randn(4),
        "steps": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a
    )


def test_weights_come_back_with_what_they_are(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "runs" / "ranker.safetensors"
    save_weights(
        path,
        tensors,
        kind="ranker",
        architecture="vgg12",
        options={"width": 16, "deep": [1, None]},
        about={"metric": "niqe?border=4", "higher_is_better": False},
    )
    weights = load_weights(path)
    assert same(weights.tensors, tensors)
    assert (weights.path, weights.kind, weights.architecture) == (path, "ranker", "vgg12")
    assert weights.options == {"width": 16, "deep": [1, None]}
    assert weights.about == {"metric": "niqe?border=4", "higher_is_better": False}
    assert weights.sha256 == hash_tensors(tensors)
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044  # others can use it too


def test_shared_and_strided_tensors_are_written_plainly(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    save_weights(
        tmp_path / "a.safetensors",
        {"a": base, "b": base, "t": base.t(), "p": nn.Parameter(base)},
        kind="generator",
        architecture="x",
        options={},
    )
    loaded = load_weights(tmp_path / "a.safetensors").tensors
    assert same(loaded, {"a": base, "b": base, "t": base.t(), "p": base})


def test_the_hash_is_of_the_content(tensors: dict[str, Tensor]) -> None:
    turned = dict(reversed(tensors.items()))
    assert hash_tensors(turned) == hash_tensors(tensors)
    nudged = tensors | {"conv.bias": tensors["conv.bias"].nextafter(torch.tensor(9.0))}
    renamed = {key.replace("conv", "cons"): value for key, value in tensors.items()}
    reshaped = tensors | {"conv.bias": tensors["conv.bias"].reshape(2, 2)}
    retyped = tensors | {"half": tensors["half"].view(torch.float16)}
    hashes = {hash_tensors(t) for t in (tensors, nudged, renamed, reshaped, retyped)}
    assert len(hashes) == 5
    # Written out once by hand, so that it cannot drift from version to version.
    import hashlib

    known = hashlib.sha256(b"a torch.float32 (1,);\x00\x00\x80?").hexdigest()
    assert hash_tensors({"a": torch.ones(1)}) == known


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"params": t, "iter": 5},
        lambda t: {"params_ema": t, "params": {"other": torch.zeros(1)}},
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": t},
        lambda t: {f"module.{key}": value for key, value in t.items()},
        lambda t: {f"_orig_mod.{key}": value for key, value in t.items()},
        lambda t: {f"module._orig_mod.{key}": value for key, value in t.items()},
        lambda t: {"params": {f"_orig_mod.module.{key}": value for key, value in t.items()}},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_other_projects(
    tmp_path: Path, tensors: dict[str, Tensor], wrap: object, suffix: str, zipped: bool
) -> None:
    assert callable(wrap)
    path = tmp_path / f"other{suffix}"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=zipped)
    weights = load_weights(path)
    assert same(weights.tensors, tensors)
    assert weights.sha256 == hash_tensors(tensors)
    assert weights.kind is weights.architecture is None
    assert weights.options == weights.about == {}


def test_a_prefix_of_some_keys_is_a_name(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pth")
    assert load_weights(tmp_path / "a.pth").tensors.keys() == mixed.keys()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_an_evil_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "executed"
    content = pickle.dumps({"conv.weight": Evil(marker)}, protocol=protocol)
    (tmp_path / "plain.pth").write_bytes(content)
    torch.save({"conv.weight": Evil(marker)}, tmp_path / "zipped.pt")
    torch.save(Evil(marker), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("plain.pth", "zipped.pt", "legacy.pth"):
        for load in (load_weights, load_state):
            with pytest.raises(InvalidCheckpoint, match="could run code"):
                load(tmp_path / name)
    assert not marker.exists()
    pickle.loads(content)["conv.weight"].close()
    assert marker.exists()  # it was evil


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], value: float, suffix: str
) -> None:
    tensors["conv.weight"][1, 2, 0, 1] = value
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_weights(path, tensors, kind="generator", architecture="x", options={})
    with pytest.raises(InvalidCheckpoint, match=r"conv\.weight holds NaN or infinity"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "is damaged"),
        ("a.safetensors", b"\xff" * 64, "is damaged"),
        ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}", "is damaged"),
        ("a.pth", b"", "is damaged"),
        ("a.pth", b"PK\x03\x04 and then nothing", "is damaged"),
        ("a.pth", b"hello, I am a text", "is damaged"),
        ("a.bin", b"", r"weights end in \.safetensors, \.pth or \.pt"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=message) as refused:
        load_weights(path)
    assert refused.value.field == str(path)
    assert str(path) in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    for load in (load_weights, load_state):
        with pytest.raises(InvalidCheckpoint, match=r"gone\.pth: no such file"):
            load(tmp_path / "gone.pth")
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        load_weights(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"a": torch.ones(1), "b": "text"}])
def test_pickles_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InvalidCheckpoint, match="no state dict"):
        load_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("field", ["options", "about"])
@pytest.mark.parametrize("text", ["{not json", "[1, 2]"])
def test_metadata_that_is_no_json_object(tmp_path: Path, field: str, text: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={field: text})
    with pytest.raises(InvalidCheckpoint, match=f"its {field} are not"):
        load_weights(tmp_path / "a.safetensors")


def test_formats_of_later_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"format": "ranksrgan-2", "kind": "ranker"})
    message = r"a\.safetensors is of format ranksrgan-2; this version reads ranksrgan-1"
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(path)
    with pytest.raises(InvalidCheckpoint, match=message):
        weights_in(path.read_bytes(), path)
    save_file({"a": torch.ones(1)}, path, metadata={"format": "pt"})  # as transformers writes it
    assert load_weights(path).kind is None


def test_safetensors_of_other_projects_say_nothing_of_themselves(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    weights = load_weights(tmp_path / "a.safetensors")
    assert weights.kind is weights.architecture is None


def test_flipped_bytes_are_damage_and_nothing_else(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    """Whatever the unpicklers raise, the caller meets one class of error."""
    torch.save(tensors, tmp_path / "zip.pth")
    torch.save(tensors, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_weights(
        tmp_path / "a.safetensors", tensors, kind="ranker", architecture="x", options={"width": 3}
    )
    dice = random.Random(0)
    refused = 0
    for i in range(600):
        path = tmp_path / ("zip.pth", "legacy.pth", "a.safetensors")[i % 3]
        content = bytearray(path.read_bytes())
        content[dice.randrange(min(len(content), 400))] = dice.randrange(256)
        if i % 5 == 0:
            del content[dice.randrange(len(content)) :]
        broken = tmp_path / f"broken{path.suffix}"
        broken.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders aloud about what it reads
            try:
                load_weights(broken)
            except InvalidCheckpoint:
                refused += 1
    assert refused > 200


def test_load_into(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {key: torch.full_like(value, 2) for key, value in network.state_dict().items()}
    del state["1.num_batches_tracked"]  # files from before PyTorch 0.4.1
    torch.save(state, tmp_path / "a.pth")
    load_into(network, load_weights(tmp_path / "a.pth"))
    for key, value in state.items():
        assert torch.equal(network.state_dict()[key], value)


def test_a_misfit_names_what_does_not_fit(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(2, 2))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = {
        "0.weight": torch.zeros(4, 1, 3, 3),
        "0.bias": torch.zeros(4),
        "head.weight": torch.zeros(1),
    }
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InvalidCheckpoint) as refused:
        load_into(network, load_weights(tmp_path / "a.pth"))
    assert str(refused.value) == (
        f"{tmp_path / 'a.pth'} does not fit Sequential: misses 1.weight, 1.bias, 2.weight, 2.bias; "
        "has unknown head.weight; size: 0.weight is (4, 1, 3, 3) and should be (4, 3, 3, 3)"
    )
    assert same(dict(network.state_dict()), before)  # not half loaded


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    """Casting would make nonsense of them: quantised weights come with a scale of their own."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = network.state_dict()
    path = tmp_path / "a.pth"
    for kind in (torch.int8, torch.uint8, torch.bool):
        torch.save(state | {"0.weight": state["0.weight"].to(kind)}, path)
        with pytest.raises(InvalidCheckpoint, match=rf"0\.weight is of {kind}"):
            load_weights(path)
    torch.save(state | {"0.weight": state["0.weight"].long()}, path)
    with pytest.raises(
        InvalidCheckpoint, match=r"type: 0\.weight is torch\.int64 and should be torch\.float32"
    ):
        load_into(network, load_weights(path))
    torch.save(state | {"1.num_batches_tracked": torch.tensor(7, dtype=torch.int32)}, path)
    load_into(network, load_weights(path))
    assert network.state_dict()["1.num_batches_tracked"] == 7


def test_wider_weights_are_rounded_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Conv2d(3, 4, 3)
    state = {key: value.double() for key, value in network.state_dict().items()}
    path = tmp_path / "a.pth"
    torch.save(state, path)
    load_into(network, load_weights(path))
    assert not caplog.records  # float32 holds them all
    torch.save(state | {"bias": torch.full((4,), 0.1, dtype=torch.float64)}, path)
    load_into(network, load_weights(path))
    assert caplog.messages == [f"{path}: 1 of its tensors are float64 and are rounded to float32"]
    assert torch.equal(network.bias.detach(), torch.full((4,), 0.1))  # type: ignore[union-attr]
    torch.save(state | {"bias": torch.full((4,), 1e300, dtype=torch.float64)}, path)
    with pytest.raises(InvalidCheckpoint, match="too large for its type: bias"):
        load_into(network, load_weights(path))


def test_training_states(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    state = {
        "step": 12,
        "best": {"niqe": 4.5, "name": "x", "none": None, "flag": True},
        "rng": torch.get_rng_state(),
        "network": tensors,
        "history": [1.0, (2, "b")],
    }
    save_state(tmp_path / "last.pt", state)
    loaded = load_state(tmp_path / "last.pt")
    assert torch.equal(loaded.pop("rng"), state.pop("rng"))  # type: ignore[arg-type]
    assert same(loaded.pop("network"), tensors)
    state.pop("network")
    assert json.dumps(loaded) == json.dumps(state)


def test_the_same_content_makes_the_same_bytes(tmp_path: Path) -> None:
    """The library that writes them puts metadata in another order each time."""
    tensors = {"a.weight": torch.rand(2, 3), "b.bias": torch.rand(5)}
    files = []
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        save_weights(path, tensors, kind="x", architecture="y", options={"s": "\u00e4"})
        files.append(path.read_bytes())
    assert len(set(files)) == 1
    found = load_weights(path)
    assert found.options == {"s": "\u00e4"}
    assert all(torch.equal(value, found.tensors[key]) for key, value in tensors.items())


def test_half_the_size_and_what_stays_whole() -> None:
    tensors = {
        "conv.weight": torch.tensor([[0.1, 1e4]]),
        "norm.running_var": torch.tensor([1e-9, 1e9]),
        "norm.num_batches_tracked": torch.tensor(7),
    }
    found = halved(tensors)
    assert found["conv.weight"].dtype == torch.float16
    assert found["conv.weight"].tolist() == [[0.0999755859375, 1e4]]
    for key in ("norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(found[key], tensors[key])
        assert found[key].dtype == tensors[key].dtype
    with pytest.raises(InvalidInput, match=r"conv\.weight reaches 70000; float16 ends") as caught:
        halved({"conv.weight": torch.tensor([[7e4]])})
    assert caught.value.field == "conv.weight"


def test_a_failed_save_keeps_the_last_good_state(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"step": 1})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_state(path, {"step": 2, "bad": lambda: None})
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_state_is_a_dict(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(InvalidCheckpoint, match="no training state"):
        load_state(tmp_path / "a.pt")


def test_all_keys_are_listed_and_a_thousand_fit_into_a_line() -> None:
    assert list_keys([]) == ""
    assert list_keys(["a.0.w", "a.1.w", "b"]) == "a.0.w, a.1.w, b"
    keys = [f"body.{i}.conv{j}.weight" for i in range(500) for j in (1, 2)]
    assert list_keys(["head.0.bias", *keys, "tail"]) == (
        "head.0.bias, body.N.conv1.weight (500), body.N.conv2.weight (500), tail"
    )
