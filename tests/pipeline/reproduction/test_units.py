from __future__ import annotations

import json
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.pipeline.reproduction.units import Units, content_hash, resolved


def test_what_is_configured_alike_is_one_unit() -> None:
    units = Units(Path("data"))
    one = units.add("ranker", "Ranker N, seed 0", {"steps": 3})
    assert units.add("ranker", "the same by another name", {"steps": 3}) is one
    assert units.add("ranker", "Ranker N, seed 0", {"steps": 4}) is not one
    assert units.add("judgement", "Ranker N, seed 0", {"steps": 3}) is not one
    assert len(units) == 3


def test_a_unit_comes_after_those_whose_files_it_names() -> None:
    units = Units(Path("data"))
    first = units.add("ranker", "first", {"seed": 0})
    second = units.add("evaluation", "second", {"judges": {"a": first.place("ranker.pt")}})
    assert second.after == (first,)
    other = Units(Path("data"))
    changed = other.add("ranker", "first", {"seed": 1})
    further = other.add("evaluation", "second", {"judges": {"a": changed.place("ranker.pt")}})
    assert further.name != second.name  # what it is made of differs


def test_other_data_makes_another_unit(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    weights = tmp_path / "weights" / "a.pth"
    weights.write_bytes(b"one")
    config = {"upscaler": "@data/weights/a.pth"}
    one = Units(tmp_path).add("evaluation", "", config)
    assert Units(tmp_path).add("evaluation", "", config).name == one.name
    weights.write_bytes(b"two")
    assert Units(tmp_path).add("evaluation", "", config).name != one.name


def test_the_hash_of_a_folder_is_of_names_and_contents(tiny_data: Path, tmp_path: Path) -> None:
    source = (tiny_data / "images" / "set14" / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(source)
    assert content_hash(tmp_path) == content_hash(tiny_data / "images" / "set14")
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert content_hash(tmp_path) != content_hash(tiny_data / "images" / "set14")


def test_missing_data_is_named_with_where_to_read_on() -> None:
    with pytest.raises(InvalidInput, match=r"data/images/set5 is missing: the README of exp"):
        Units(Path("data")).add("evaluation", "", {"sets": {"Set5": "@data/images/set5"}})


def test_places_become_paths() -> None:
    config = {"a": ["@data/x", 1, None], "b": {"c": "@runs/y/z", "d": "hr", "e": "a@data/"}}
    assert resolved(config, Path("D"), Path("R")) == {
        "a": ["D/x", 1, None],
        "b": {"c": "R/y/z", "d": "hr", "e": "a@data/"},
    }


def test_a_result_is_there_when_the_unit_is_finished(tmp_path: Path) -> None:
    unit = Units(Path("data")).add("ranker", "Ranker N", {"steps": 3})
    folder = unit.prepare(tmp_path)
    about = json.loads((folder / "unit.json").read_text())
    assert about == {"kind": "ranker", "label": "Ranker N", "config": {"steps": 3}, "inputs": {}}
    assert not unit.is_finished(tmp_path)
    with pytest.raises(InvalidInput, match="Ranker N is not finished"):
        unit.result(tmp_path)
    (folder / "done.json").write_text('{"result": {"step": 3}}')
    assert unit.is_finished(tmp_path)
    assert unit.result(tmp_path) == {"step": 3}


@pytest.mark.parametrize("content", [b"", b'{"result": {"st', b"{}", b"[]", b"\xff\xfe"])
def test_a_damaged_result_is_named_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    unit = Units(Path("data")).add("ranker", "Ranker N", {"steps": 3})
    done = unit.prepare(tmp_path) / "done.json"
    done.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"done\.json is damaged: remove it.*: Ranker N") as told:
        unit.result(tmp_path)
    assert told.value.field == str(done)
