"""Folders of studies, and who sees what when."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, UnknownName
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.pipeline.web.study import Pair, Study, check_rater, open_study, person
from tests.attacks.bombs import bombs


def add(path: Path, side: int = 8) -> None:
    write_image(path, Picture(np.zeros((side, 8, 3), np.uint8)))


def test_every_two_methods_of_a_content_are_a_pair(study: Study) -> None:
    two = [("noisy", "sharp"), ("noisy", "soft"), ("sharp", "soft")]
    assert study.pairs == tuple(Pair(content, *pair) for content in ("cat", "cup") for pair in two)
    assert study.sizes == {"cat": (48, 40), "cup": (48, 40)}


def test_a_rater_sees_each_pair_once_in_an_order_that_stays(study: Study) -> None:
    first = study.ahead("Ada", ())
    assert sorted(showing.pair for showing in first) == sorted(study.pairs)
    assert study.ahead("Ada", ()) == first
    assert study.ahead("Ada", {first[0].pair, first[3].pair}) == [*first[1:3], *first[4:]]
    for showing in first:
        assert {showing.left, showing.right} == set(showing.pair[1:])


def test_orders_and_sides_differ_between_raters(study: Study) -> None:
    raters = [f"rater {i}" for i in range(400)]
    ahead = [study.ahead(rater, ()) for rater in raters]
    for pair in study.pairs:
        swapped = sum(study.showing(rater, pair).left == pair.second for rater in raters)
        assert 150 < swapped < 250  # five standard deviations
        first = sum(showings[0].pair == pair for showings in ahead)
        assert 29 < first < 105  # 1 in 6, likewise


def test_images_that_are_added_change_no_other_pair(study: Study, study_folder: Path) -> None:
    before = study.ahead("Ada", ())
    add(study_folder / "dog" / "sharp.png")
    add(study_folder / "dog" / "soft.png")
    after = open_study("faces", study_folder).ahead("Ada", ())
    assert [showing for showing in after if showing.pair.content != "dog"] == before


def test_tokens_find_their_pairs_and_name_no_method(study: Study) -> None:
    for pair in study.pairs:
        assert study.pair(study.token(pair)) == pair
        assert pair.first not in study.token(pair)
    with pytest.raises(UnknownName, match="no pair 'x'"):
        study.pair("x")


def test_what_is_no_result_is_left_out(
    study_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(study_folder / "alone" / "sharp.png")
    add(study_folder / ".hidden" / "sharp.png")
    add(study_folder / ".hidden" / "soft.png")
    (study_folder / "cat" / "notes.txt").write_text("nice")
    (study_folder / "readme.md").write_text("")
    (study_folder / "cat" / "old.tiff").write_bytes(b"")
    assert set(open_study("faces", study_folder).images) == {"cat", "cup"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{study_folder}: left out 3 that are no CONTENT/METHOD of .bmp .jpeg .jpg .png .webp: "
        "cat/notes.txt, cat/old.tiff, readme.md",
        f"{study_folder}: left out 1 with fewer than two images: alone",
    ]


def test_nothing_is_said_where_nothing_is_left_out(
    study_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_study("faces", study_folder)
    assert caplog.records == []


def test_images_of_one_content_have_one_size(study_folder: Path) -> None:
    add(study_folder / "cat" / "small.png")
    with pytest.raises(InvalidDataset, match=r"differ in size: .*48 x 40.*small.png is 8 x 8"):
        open_study("faces", study_folder)


def test_what_is_no_image_is_named(study_folder: Path) -> None:
    (study_folder / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(
        InvalidDataset, match=r"people cannot vote on it: .*cat/broken.png is not a PNG"
    ):
        open_study("faces", study_folder)


def test_a_pipe_is_no_image(study_folder: Path) -> None:
    os.mkfifo(study_folder / "cat" / "pipe.png")  # nobody ever writes into it
    with pytest.raises(
        InvalidDataset, match=r"people cannot vote on it: .*cat/pipe.png: .*is a pipe"
    ):
        open_study("faces", study_folder)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_damaged_images_are_named(study_folder: Path, suffix: str) -> None:
    path = study_folder / "cat" / f"cut{suffix}"
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InvalidDataset, match=f"cat/cut{suffix}") as told:
        open_study("faces", study_folder)
    assert told.value.field == str(path)


@pytest.mark.parametrize("bomb", sorted(name for name in bombs() if not name.endswith(".tif")))
def test_what_costs_far_too_much_is_named(study_folder: Path, bomb: str) -> None:
    path = study_folder / "cat" / bomb
    path.write_bytes(bombs()[bomb])
    with pytest.raises(InvalidDataset, match=f"people cannot vote on it: .*cat/{bomb}") as told:
        open_study("faces", study_folder)
    assert told.value.field == str(path)


def test_what_browsers_do_not_show_is_named(study_folder: Path) -> None:
    Image.new("RGB", (48, 40)).save(study_folder / "cat" / "scan.png", format="TIFF")
    with pytest.raises(InvalidDataset, match=r"cat/scan.png is no image that every browser shows"):
        open_study("faces", study_folder)


def test_links_out_of_the_folder_are_refused(study_folder: Path, tmp_path: Path) -> None:
    add(tmp_path / "elsewhere.png", 40)
    (study_folder / "cat" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InvalidDataset, match=r"cat/link.png is a link that leads out"):
        open_study("faces", study_folder)


@pytest.mark.parametrize(
    ("content", "method"),
    # cat_x exists too, and is its reference; an image suffix goes
    [("cat", "x_sharp"), ("cat", "x"), ("dog", "sharp.v1.png")],
)
def test_votes_must_tell_images_apart(study_folder: Path, content: str, method: str) -> None:
    shutil.copytree(study_folder / "cat", study_folder / "cat_x")
    shutil.copy(study_folder / "cat" / "soft.png", study_folder / "cat_x" / "hr.png")
    add(study_folder / content / f"{method}.png", 40 if content == "cat" else 8)
    add(study_folder / "dog" / "soft.png")
    add(study_folder / "dog" / "sharp.png")
    if content == "cat":
        shutil.copy(study_folder / "cat" / "soft.png", study_folder / "cat" / f"{method}.png")
    with pytest.raises(InvalidDataset, match="rename one"):
        open_study("faces", study_folder)


def test_sizes_are_as_shown(study_folder: Path) -> None:
    (study_folder / "dog").mkdir()
    turned = Image.new("RGB", (80, 40))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(study_folder / "dog" / "sharp.jpg", exif=exif)
    Image.new("RGB", (40, 80)).save(study_folder / "dog" / "soft.png")
    assert open_study("faces", study_folder).sizes["dog"] == (40, 80)


@pytest.mark.parametrize("name", ["", "../faces", "a/b", "ünï", "x" * 101, "faces ", "f/"])
def test_names_of_studies(study_folder: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        open_study(name, study_folder)


def test_names_of_images(study_folder: Path) -> None:
    add(study_folder / "cat" / "a,b.png", 40)
    with pytest.raises(InvalidInput, match="'a,b' is no name"):
        open_study("faces", study_folder)


def test_a_study_is_a_folder_with_something_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a folder"):
        open_study("faces", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDataset, match="nothing to compare"):
        open_study("faces", tmp_path / "empty")


@pytest.mark.parametrize("rater", ["Ada", "Zoë K.", "n-1@lab", "O'Hara", "x" * 64, "हिन्दी", "น้ำ"])
def test_names_of_raters(rater: str) -> None:
    assert check_rater(f"  {rater} ") == rater


def test_a_name_is_one_however_it_is_typed() -> None:
    assert check_rater("Zoe\u0308") == check_rater("Zo\u00eb") == "Zo\u00eb"
    assert check_rater(" Anna \u00a0  B") == "Anna B"


def test_spellings_of_a_name_are_one_person(study: Study) -> None:
    spellings = ("Anna B", "anna b", "ANNA  B")
    assert {person(name) for name in spellings} == {"anna b"}
    assert person("Stra\u00dfe") == person("STRASSE")
    assert person("Anna B") != person("AnnaB")
    pictures = [[(one.pair, one.left) for one in study.ahead(name, ())] for name in spellings]
    assert pictures[0] == pictures[1] == pictures[2]


@pytest.mark.parametrize(
    "rater", ["", "  ", "=1+1", "a,b", "a\nb", "a\0b", "<b>", "x" * 65, "-x", "\u0302x"]
)
def test_impossible_names_of_raters(rater: str) -> None:
    with pytest.raises(InvalidInput, match="a rater's name"):
        check_rater(rater)
