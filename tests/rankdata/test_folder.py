from __future__ import annotations

import re
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.rankdata.folder import (
    BuildingFolder,
    check_target,
    first_difference,
    locked_building_folder,
)


def _finish_a_source(building: BuildingFolder, content: str = "{}") -> None:
    building.result("one").parent.mkdir()
    building.result("one").write_text(content)


def _complete(building: BuildingFolder, text: str) -> None:
    building.claim({"made": text}, discard=False)
    _finish_a_source(building)
    (building.dataset / "dataset.json").write_text(text)


def test_dataset_takes_its_place_and_nothing_else_stays(tmp_path: Path) -> None:
    for overwrite, text in ((False, "old"), (True, "new")):
        with locked_building_folder(tmp_path / "ranks") as building:
            assert building.path == tmp_path / ".ranks.building"
            _complete(building, text)
            building.publish(overwrite=overwrite)
        assert (tmp_path / "ranks" / "dataset.json").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["ranks"]


def test_folder_is_held_by_one(tmp_path: Path) -> None:
    with (
        locked_building_folder(tmp_path / "ranks"),
        locked_building_folder(tmp_path / "others"),
        pytest.raises(InvalidInput, match=r"another build of .*ranks is running"),
        locked_building_folder(tmp_path / "ranks"),
    ):
        pytest.fail("held twice")
    with locked_building_folder(tmp_path / "ranks"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_same_settings_go_on_and_others_do_not(tmp_path: Path) -> None:
    target = tmp_path / "ranks"
    settings = {"config": {"levels": [["a", "hr"], ["b", "blur:2"]]}, "seed": 1}
    with locked_building_folder(target) as building:
        building.claim(settings, discard=False)
        _finish_a_source(building)
    with locked_building_folder(target) as building:
        building.claim(settings, discard=False)
        assert building.result("one").is_file()
        with pytest.raises(InvalidInput, match=r"\(seed: 1 there, 2 now\); --force discards it"):
            building.claim(settings | {"seed": 2}, discard=False)
        assert building.result("one").is_file()
        building.claim(settings | {"seed": 2}, discard=True)
        assert not building.result("one").exists()


def test_kill_between_the_two_renames_is_made_good(tmp_path: Path) -> None:
    target = tmp_path / "ranks"
    with locked_building_folder(target) as building:
        _complete(building, "old")
        building.publish(overwrite=False)
    with locked_building_folder(target) as building:
        _complete(building, "new")
        target.rename(building.path / "replaced")
    with locked_building_folder(target):
        assert (target / "dataset.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["ranks"]


@pytest.mark.parametrize(
    ("found", "wanted", "difference"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "a.c: 2 there, 3 now"),
        ({"a": 1}, {"a": 1, "b": "x"}, 'b: null there, "x" now'),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, "a: in another order"),
        ({"a": [1, 2]}, {"a": [2, 1]}, "a: [1, 2] there, [2, 1] now"),
    ],
)
def test_first_difference(found: object, wanted: object, difference: str) -> None:
    assert first_difference(found, wanted) == difference


def test_target_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "ranks").write_text("")
    with pytest.raises(InvalidInput, match="is a file; a folder is wanted"):
        check_target(tmp_path / "ranks", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_stays_one_and_the_dataset_is_where_it_leads(
    tmp_path: Path, overwrite: bool
) -> None:
    real, link = tmp_path / "disk" / "ranks", tmp_path / "link"
    real.parent.mkdir()
    if overwrite:
        real.mkdir()
        (real / "dataset.json").write_text("old")
    link.symlink_to(real)
    with locked_building_folder(link) as building:
        assert building.path == tmp_path / "disk" / ".ranks.building"
        _complete(building, "new")
        building.publish(overwrite=overwrite)
    assert link.is_symlink()
    assert (link / "dataset.json").read_text() == "new"
    assert [path.name for path in real.parent.iterdir()] == ["ranks"]


def test_a_link_in_the_building_folder_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").write_text("")
    with locked_building_folder(tmp_path / "ranks") as building:
        (building.path / "replaced").symlink_to(tmp_path / "other")
        building.empty()
        assert not (building.path / "replaced").is_symlink()
    assert (tmp_path / "other" / "kept").exists()


def test_target_where_a_disk_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(InvalidInput, match="is where a disk is mounted"):
        check_target(tmp_path, overwrite=True)
    check_target(tmp_path / "ranks", overwrite=True)


@pytest.mark.parametrize(
    ("others", "named"),
    [
        (["notes.txt"], "notes.txt"),
        (["runs/a/curves.csv", "runs/b/curves.csv"], "runs"),
        (["levels/notes.txt"], "levels/notes.txt"),
        (["levels/hr/picked/one.png", "levels/hr/one.jpg"], "levels/hr/one.jpg, levels/hr/picked"),
        (["pack/votes.csv", ".git/HEAD"], ".git, pack/votes.csv"),
        (
            [f"{n}.safetensors" for n in range(5)],
            "0.safetensors, 1.safetensors, 2.safetensors and 2",
        ),
    ],
)
def test_what_is_not_the_datasets_is_never_deleted(
    tmp_path: Path, others: list[str], named: str
) -> None:
    target = tmp_path / "ranks"
    with locked_building_folder(target) as building:
        _complete(building, "old")
        building.publish(overwrite=False)
    for other in others:
        (target / other).parent.mkdir(parents=True, exist_ok=True)
        (target / other).write_text("mine")
    with locked_building_folder(target) as building:
        _complete(building, "new")
        with pytest.raises(InvalidInput, match=re.escape(f"the rest: {named}")) as caught:
            building.publish(overwrite=True)
        assert caught.value.field == str(target)
        assert building.result("one").is_file()  # to go on from when the rest was moved
    assert (target / "dataset.json").read_text() == "old"
    assert {(target / other).read_text() for other in others} == {"mine"}


def test_all_that_is_a_datasets_is_replaced(tmp_path: Path) -> None:
    """Of votes, packed, and with what kills of the packing have left."""
    target, elsewhere = tmp_path / "ranks", tmp_path / "elsewhere"
    names = (
        *("dataset.json", "manifest.parquet", "config.yaml", "ratings.csv", "comparisons.csv"),
        *("levels/hr/a b.png", "levels/x4/a b.png", "pack/index.json", "pack/00000.mdb"),
        *(".pack-unfinished/00001.mdb", ".pack-unfinished/.index-0123abcd.json"),
        ".pack-old/index.json",
    )
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("old")
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("")
    (target / "levels" / "linked").symlink_to(elsewhere)
    with locked_building_folder(target) as building:
        _complete(building, "new")
        building.publish(overwrite=True)
    assert [path.name for path in target.iterdir()] == ["dataset.json"]
    assert (elsewhere / "kept.txt").exists()
