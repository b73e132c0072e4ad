from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.metrics.score_table import image_name, read_column, read_scores, read_table


def written(folder: Path, text: str, name: str = "scores.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "image,niqe,ssim\nsr/b.png,7.5,0.5\n\nsr/a.JPG, 1e1 ,0.25\n")
    assert read_scores(path, "niqe") == {"b": 7.5, "a": 10}
    assert read_scores(path, "ssim") == {"b": 0.5, "a": 0.25}
    assert read_table(path)["a"].place == f"{path}:4"


def test_pipal_labels_have_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "A0001_00_00.bmp,1485.16\nA0001_00_01.bmp,1436.4\n", "A0001.txt")
    assert read_scores(path) == {"A0001_00_00": 1485.16, "A0001_00_01": 1436.4}


def test_tid2013_writes_the_score_first_and_names_in_lower_case(tmp_path: Path) -> None:
    path = written(tmp_path, "5.51429 I01_01_1.bmp\n\n 5.6 i01_01_2.BMP \n", "mos_with_names.txt")
    assert read_scores(path) == {"i01_01_1": 5.51429, "i01_01_2": 5.6}
    path.write_text("5.51429 I01_01_1.bmp\n5.6 I01_01_2\n")
    with pytest.raises(InvalidDataset, match=r":2: '5\.6 I01_01_2' is not a score and the name"):
        read_scores(path)


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    written(tmp_path, "A0002_00_00.bmp,1500\n", "labels/A0002.txt")
    written(tmp_path, "A0001_00_00.bmp,1400\n", "labels/A0001.TXT")
    (tmp_path / "labels" / "._A0002.txt").write_bytes(b"\0\5\26\7Mac OS X\xff")
    written(tmp_path, "not a table", "labels/readme.md")
    assert read_scores(tmp_path / "labels") == {"A0001_00_00": 1400, "A0002_00_00": 1500}


def test_the_only_column_of_numbers_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "image,algorithm,mos\na,SRGAN,3\nb,bicubic,2\n")
    assert read_scores(path) == {"a": 3, "b": 2}
    assert read_column(path, "algorithm") == {"a": "SRGAN", "b": "bicubic"}


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes('﻿image,mos\r\n"a, b.png",3\r\n'.encode())
    assert read_scores(path) == {"a, b": 3}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A0001_00_00.bmp", "A0001_00_00"),
        ("sr/x4/baboon.PNG", "baboon"),
        ("C:\\images\\baboon.tiff", "baboon"),
        ("baboon", "baboon"),
        ("v1.5/baboon_v1.5", "baboon_v1.5"),
    ],
)
def test_images_are_known_by_their_file_name(text: str, name: str) -> None:
    assert image_name(text) == name


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a.bmp,1\nb.bmp,x\n", None, r":2: the score of b is 'x', not a finite number"),
        ("a.bmp,x\nb.bmp,1\n", None, r":1: the score of a is 'x'"),
        ("image,niqe\na,\n", "niqe", r":2: the niqe of a is ''"),
        ("a.bmp,nan\n", None, r":1: the score of a is 'nan'"),
        ("a,nan\nb,1\n", None, r":1: the score of a is 'nan'"),
        ("a,-inf\nb,1\n", None, r":1: the score of a is '-inf'"),
        ("a.bmp,1_0\n", None, r":1: the score of a is '1_0'"),
        ("a.bmp,\u0663\n", None, r":1: the score of a is '\u0663'"),
        ("a.bmp,1e999\n", None, r":1: the score of a is '1e999'"),
        ("a.bmp,1\nb.bmp\n", None, r":2: 1 cells where image,score are wanted"),
        ("a.bmp,1\nb.bmp,2,3\n", None, r":2: 3 cells where image,score"),
        ("a.bmp,1\nx/a.png,2\n", None, r":2: a is there already \(.*:1\)"),
        ("a.bmp,1\n,2\n", None, r":2: the image has no name"),
        ("image,niqe,niqe\na,1,2\n", "niqe", r":1: two columns of one name"),
        ("image,niqe\na,1\n", "ssim", r":2: there is no column 'ssim', only niqe"),
        ("image,niqe,ssim\na,1,2\n", None, r"2 columns of numbers \(niqe, ssim\): say which"),
        ("image;mos\na.png;1\n", None, r":1: there is one column, 'image;mos'; commas are wanted"),
        ("image\tmos\na.png\t1\n", "mos", r":1: there is one column, 'image\\tmos'; commas"),
        ("a.png;1\nb.png;2\n", None, r":1: there is one column, 'a\.png;1'; commas are wanted"),
        ("image,one,two\na,x,y\n", None, r"0 columns of numbers \(none\)"),
        ("", None, r"holds no line of scores"),
        ("image,mos\n", None, r"holds no line of scores"),
        ('a.bmp,"1\n', None, r"is not CSV in UTF-8"),
    ],
)
def test_what_is_no_table_of_scores(
    tmp_path: Path, text: str, column: str | None, message: str
) -> None:
    with pytest.raises(InvalidDataset, match=message) as caught:
        read_scores(written(tmp_path, text), column)
    assert "scores.csv" in str(caught.value)
    assert caught.value.field is not None
    assert caught.value.field.startswith(str(tmp_path))


def test_an_image_in_two_files_of_a_folder(tmp_path: Path) -> None:
    written(tmp_path, "A0001_00_00.bmp,1500\n", "labels/1.txt")
    written(tmp_path, "A0001_00_00.bmp,1400\n", "labels/2.txt")
    with pytest.raises(InvalidDataset, match=r"2\.txt:1: A0001_00_00 is there already .*1\.txt:1"):
        read_scores(tmp_path / "labels")


def test_an_empty_label(tmp_path: Path) -> None:
    path = written(tmp_path, "image,algorithm,mos\na,SRGAN,3\nb,,2\n")
    with pytest.raises(InvalidDataset, match=r":3: the algorithm of b is empty"):
        read_column(path, "algorithm")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"gone\.csv: No such file"):
        read_scores(tmp_path / "gone.csv")
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\xff\xfe,")
    with pytest.raises(InvalidDataset, match="not CSV in UTF-8"):
        read_scores(path)
