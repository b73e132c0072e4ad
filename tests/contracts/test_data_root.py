"""Names inside the data root, and nothing outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranksrgan.contracts.data_root import DataRoot, check_id
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, UnknownName

ESCAPES = [
    "",
    "datasets",
    "datasets/",
    "datasets//a",
    "datasets/.",
    "datasets/..",
    "datasets/../secret",
    "datasets/a/b",
    "datasets/a/../../secret",
    "datasets/.hidden",
    "datasets/-rf",
    "datasets/a\0",
    "datasets/a\n",
    "datasets/a\\b",
    "datasets/ä",
    "datasets/" + 101 * "a",
    "/etc/passwd",
    "../datasets/a",
    "models/a",
    "a",
    "file:///etc/passwd",
]


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    (tmp_path / "secret").mkdir()
    (tmp_path / "root" / "datasets" / "faces").mkdir(parents=True)
    return DataRoot(tmp_path / "root")


def test_a_name_is_a_place_below_the_root(root: DataRoot) -> None:
    assert root.find("datasets/faces", "datasets", "dataset") == root.folder / "datasets" / "faces"
    assert root.place("rankers/a.b_c-1", "rankers", "ranker") == root.folder / "rankers" / "a.b_c-1"


@pytest.mark.parametrize("name", ESCAPES)
def test_what_is_no_name_is_refused(root: DataRoot, name: str) -> None:
    with pytest.raises(InvalidInput, match="datasets/NAME") as caught:
        root.place(name, "datasets", "dataset")
    assert caught.value.field == "dataset"
    assert str(root.folder) not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(last=st.text(st.sampled_from("./\\~a-_\0$ "), max_size=8))
def test_no_name_leads_out(root: DataRoot, last: str) -> None:
    try:
        path = root.place(f"datasets/{last}", "datasets", "dataset")
    except InvalidInput:
        return
    assert path.parent == root.folder / "datasets"
    assert path.resolve().parent == root.folder / "datasets"


@pytest.mark.parametrize("last", ["", ".", "..", "a/b", "/a", ".a", "a b", 101 * "a"])
def test_an_id_is_checked_by_the_same_rule(last: str) -> None:
    with pytest.raises(InvalidInput, match="dataset_id"):
        check_id(last, "dataset_id")
    assert check_id("faces-2.1_b", "dataset_id") == "faces-2.1_b"


def test_links_that_lead_out_are_not_there(root: DataRoot, tmp_path: Path) -> None:
    datasets = root.folder / "datasets"
    (datasets / "out").symlink_to(tmp_path / "secret")
    (datasets / "up").symlink_to("../../secret")
    (datasets / "loop").symlink_to("loop")
    (datasets / "in").symlink_to("faces")
    for name in ("datasets/out", "datasets/up", "datasets/loop"):
        with pytest.raises(UnknownName, match=f"no {name}"):
            root.find(name, "datasets", "dataset")
    assert root.find("datasets/in", "datasets", "dataset").resolve() == datasets / "faces"
    assert root.names("datasets") == ["datasets/faces", "datasets/in"]


def test_a_kind_that_is_a_link_out_holds_nothing(root: DataRoot, tmp_path: Path) -> None:
    (tmp_path / "secret" / "key").touch()
    (root.folder / "models").symlink_to(tmp_path / "secret")
    with pytest.raises(UnknownName):
        root.find("models/key", "models", "model")
    assert root.names("models") == []


def test_names_are_sorted_and_without_hidden_entries(root: DataRoot) -> None:
    for name in ("zebras", "apes", ".draft-1", "not a name"):
        (root.folder / "datasets" / name).mkdir()
    assert root.names("datasets") == ["datasets/apes", "datasets/faces", "datasets/zebras"]
    assert root.names("rankers") == []


def test_what_is_not_there_is_unknown(root: DataRoot) -> None:
    with pytest.raises(UnknownName, match="no datasets/cats") as caught:
        root.find("datasets/cats", "datasets", "dataset")
    assert caught.value.field == "dataset"


def test_weights_are_a_file_with_or_without_its_suffix_or_inside_a_folder(
    root: DataRoot, tmp_path: Path
) -> None:
    models = root.folder / "models"
    (models / "run").mkdir(parents=True)
    for name in ("a.pth", "b.pt", "b.safetensors", "run.pth", "run/best.safetensors"):
        (models / name).touch()
    (tmp_path / "secret" / "best.safetensors").touch()
    (models / "out.pth").symlink_to(tmp_path / "secret" / "best.safetensors")
    (models / "linked").mkdir()
    (models / "linked" / "best.safetensors").symlink_to(models / "out.pth")

    def find(name: str, inside: str = "") -> str:
        path = root.find_weights(name, "models", "generator.weights", inside=inside)
        return str(path.relative_to(models))

    assert [find(name) for name in ("models/a", "models/a.pth", "models/b", "models/b.pt")] == [
        "a.pth",
        "a.pth",
        "b.safetensors",
        "b.pt",
    ]
    assert find("models/run") == "run.pth"
    assert find("models/run", "best.safetensors") == "run/best.safetensors"
    assert find("models/a", "best.safetensors") == "a.pth"
    wrong = [("none", ""), ("run", "last.pt"), ("out", ""), ("out.pth", "")]
    (models / "run.pth").unlink()
    for name, inside in [*wrong, ("linked", "best.safetensors")]:
        with pytest.raises(UnknownName, match=f"no models/{name}") as caught:
            find(f"models/{name}", inside)
        assert caught.value.field == "generator.weights"
    for escape in ("models/../secret/best", "/etc/passwd", "models/run/best.safetensors"):
        with pytest.raises(InvalidInput, match="models/NAME"):
            find(escape, "best.safetensors")


def test_errors_call_files_by_their_names(root: DataRoot) -> None:
    path = root.folder / "datasets" / "faces" / "manifest.parquet"
    with pytest.raises(InvalidDataset) as caught, root.hiding_paths():
        raise InvalidDataset(f"{path} has no rows; look into {root.folder}", field=str(path))
    assert (
        str(caught.value) == "datasets/faces/manifest.parquet has no rows; look into the data root"
    )
    assert caught.value.field == "datasets/faces/manifest.parquet"
    unchanged = InvalidDataset("no rows")
    with pytest.raises(InvalidDataset) as caught, root.hiding_paths():
        raise unchanged
    assert caught.value is unchanged


def test_a_root_is_a_folder_of_its_own(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", Path("/")):
        with pytest.raises(InvalidInput, match="no folder"):
            DataRoot(path)
