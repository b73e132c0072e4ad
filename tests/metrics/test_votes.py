from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.metrics.bradley_terry import bradley_terry
from ranksrgan.metrics.elo import elo
from ranksrgan.metrics.votes import Vote, read_votes


def written(folder: Path, text: str) -> Path:
    path = folder / "votes.csv"
    path.write_text(text)
    return path


def test_a_winner_is_named_or_pointed_at(tmp_path: Path) -> None:
    path = written(tmp_path, "left,right,winner\na,b,a\na,b,b\n\na,b,left\nb,a,right\na, b ,tie\n")
    assert read_votes(path) == [
        Vote("a", "b", 1),
        Vote("a", "b", 0),
        Vote("a", "b", 1),
        Vote("b", "a", 0),
        Vote("a", "b", 0.5),
    ]


def test_a_name_goes_before_a_word(tmp_path: Path) -> None:
    path = written(tmp_path, "left,right,winner\nright,left,left\ntie,a,tie\n")
    assert read_votes(path) == [Vote("right", "left", 0), Vote("tie", "a", 1)]


def test_columns_in_any_order_among_others(tmp_path: Path) -> None:
    path = written(tmp_path, "who,winner,right,left\nme,b,b,a\n")
    assert read_votes(path) == [Vote("a", "b", 0)]


def test_items_are_known_without_image_suffix(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "left,right,winner\na_x.png,a_y.PNG,a_x\na.bmp,b,b.png\na,b.png,left\nleft.png,a,left\n"
        "v1.5,v1.6,v1.6\n",
    )
    assert read_votes(path) == [
        Vote("a_x", "a_y", 1),
        Vote("a", "b", 0),
        Vote("a", "b", 1),
        Vote("left", "a", 1),
        Vote("v1.5", "v1.6", 0),
    ]


def test_folders_are_a_part_of_the_item(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "left,right,winner\nsrgan/a.png,esrgan/a.png,left\nsrgan/a.png,esrgan/a.bmp,esrgan/a\n"
        "w/o GAN,GAN,w/o GAN\nsr\\a.png,a.png,a\n",
    )
    assert read_votes(path) == [
        Vote("srgan/a", "esrgan/a", 1),
        Vote("srgan/a", "esrgan/a", 0),
        Vote("w/o GAN", "GAN", 1),
        Vote("sr\\a", "a", 0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a\n", r"votes\.csv:1: the first line names the columns, left,right,winner"),
        ("left,right,winner\na,b\n", r":2: 2 cells where left,right,winner are wanted"),
        ("left,right,winner\na,b,c\n", r":2: a,b,c is no vote"),
        ("left,right,winner\na,a,a\n", r":2: a,a,a is no vote: two different items"),
        ("left,right,winner\na,b,a\na.png,a,left\n", r":3: a\.png,a,left is no vote: two diff"),
        ("left,right,winner\na_x.png,a_x,left\n", r":2: a_x\.png,a_x,left is no vote: two diff"),
        ("left,right,winner\nsr/a,b,a\n", r":2: sr/a,b,a is no vote"),
        ("left,right,winner\na,b,left.png\n", r":2: a,b,left\.png is no vote"),
        ("left,right,winner\na,,a\n", r":2: a,,a is no vote"),
        ("left,right,winner,winner\na,b,a,b\n", r":1: two columns of one name"),
        ("left,right,winner\n", r"votes\.csv holds no vote"),
        ("", r"votes\.csv holds no vote"),
    ],
)
def test_what_is_no_file_of_votes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        read_votes(written(tmp_path, text))


@pytest.mark.parametrize("function", [elo, bradley_terry])
@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([], "there is no vote"),
        ([Vote("a", "b", 1), Vote("a", "a", 1)], "vote 1 is a against itself"),
        ([Vote("a", "b", 1.5)], "vote 0 has the outcome 1.5"),
        ([Vote("a", "b", float("nan"))], "vote 0 has the outcome nan"),
    ],
)
def test_votes_that_are_none(function: object, votes: list[Vote], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        function(votes)  # type: ignore[operator]
