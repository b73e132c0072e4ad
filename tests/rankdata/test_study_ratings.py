from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, UndefinedScore
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.metrics import Vote, bradley_terry, elo
from ranksrgan.rankdata.human import VotesConfig, build_from_judgements, load_human_config
from ranksrgan.rankdata.study_ratings import (
    BradleyTerryRating,
    EloRating,
    Rating,
    StudyRating,
    read_ratings,
    write_ratings,
)

HEAD = "item,method,scale,score,low,high\n"
ELO = EloRating(method="elo")
FIRST = [Vote("a_x", "a_y", outcome) for outcome in (0, 1, 1, 0)]


def test_a_file_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    rating = BradleyTerryRating(scale=100)
    found = {"b": StudyRating(1 / 3, -0.1, 2 / 3), "a,b": StudyRating(1e-300, -7.0, 7.0)}
    write_ratings(tmp_path / "ratings.csv", found, rating)
    assert (tmp_path / "ratings.csv").read_text() == (
        HEAD + '"a,b",bradley-terry,100.0,1e-300,-7.0,7.0\n'
        "b,bradley-terry,100.0,0.3333333333333333,-0.1,0.6666666666666666\n"
    )
    assert read_ratings(tmp_path / "ratings.csv", rating) == found
    write_ratings(tmp_path / "elo.csv", {"a": StudyRating(1401.5)}, ELO)
    assert (tmp_path / "elo.csv").read_text() == HEAD + "a,elo,400.0,1401.5,,\n"
    assert read_ratings(tmp_path / "elo.csv", ELO) == {"a": StudyRating(1401.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rating"),
        (HEAD, "holds no rating"),
        ("item,score\na,1\n", "ratings.csv:1: the first line of a file of ratings is item,method"),
        (HEAD + "a,bradley-terry,400,1\n", "ratings.csv:2: 4 cells where"),
        (HEAD + "a,elo,400,1400,,\n", "ratings.csv:2: a rating by elo .* as one by bradley-terry"),
        (HEAD + "a,bradley-terry,200,1,0,2\n", "scale 200 does not go on .* of scale 400"),
        (HEAD + "a,bradley-terry,400,1,0,2\n" * 2, "ratings.csv:3: 'a' is no item, or one"),
        (HEAD + ",bradley-terry,400,1,0,2\n", "ratings.csv:2: '' is no item"),
        (HEAD + "a,bradley-terry,400,good,0,2\n", "good,0,2 is no rating: .* low < score < high"),
        (HEAD + "a,bradley-terry,400,1,,\n", "1,, is no rating"),
        (HEAD + "a,bradley-terry,400,1,1,1\n", "1,1,1 is no rating"),
        (HEAD + "a,bradley-terry,400,nan,0,2\n", "nan,0,2 is no rating"),
        (HEAD + 'a,"bradley', "is not CSV in UTF-8"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ratings.csv").write_text(text)
    with pytest.raises(InvalidDataset, match=message):
        read_ratings(tmp_path / "ratings.csv", BradleyTerryRating())


def test_files_of_elo_have_no_intervals(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(HEAD + "a,elo,400,1400,1390,1410\n")
    with pytest.raises(InvalidDataset, match="a score and neither low nor high"):
        read_ratings(tmp_path / "ratings.csv", ELO)
    with pytest.raises(InvalidDataset, match="No such file"):
        read_ratings(tmp_path / "none.csv", ELO)


def test_elo_goes_on_from_the_scores() -> None:
    old = ELO.rate(FIRST, {})
    assert {item: rating.score for item, rating in old.items()} == elo(FIRST).scores
    new = ELO.rate([Vote("a_z", "a_x", 1)], old)
    assert new["a_y"] == old["a_y"]
    assert new["a_z"].score - 1400 == pytest.approx(old["a_x"].score - new["a_x"].score, abs=1e-9)


def _width(found: StudyRating) -> float:
    return (found.high or 0.0) - (found.low or 0.0)


def _cast(strengths: Sequence[float], each: int, rng: np.random.Generator) -> list[Vote]:
    """``each`` votes on every pair of a, b, c, ... of those strengths (natural logarithms)."""
    pairs = list(combinations(range(len(strengths)), 2))
    chances = [1 / (1 + math.exp(strengths[right] - strengths[left])) for left, right in pairs]
    return [
        Vote("abcdef"[left], "abcdef"[right], float(rng.random() < chance))
        for (left, right), chance in zip(pairs, chances, strict=True)
        for _ in range(each)
    ]


def test_bradley_terry_goes_on_from_its_intervals() -> None:
    rating = BradleyTerryRating()
    votes = [Vote("a", "b", 1)] * 30 + [Vote("b", "a", 1)] * 20 + [Vote("c", "a", 0.5)] * 20
    old = rating.rate(votes, {})
    fitted = bradley_terry(votes, prior=0.5)
    scores, intervals = fitted.scores(), fitted.intervals(0.95)
    assert old == {item: StudyRating(scores[item], *intervals[item]) for item in "abc"}
    more = [Vote("d", "b", 1)] * 4 + [Vote("b", "d", 1)] * 2
    new, whole = rating.rate(more, old), rating.rate([*votes, *more], {})
    for item in "abcd":
        assert new[item].score == pytest.approx(whole[item].score, abs=1.5)
        assert _width(new[item]) == pytest.approx(_width(whole[item]), rel=0.02)


def test_old_votes_count_once() -> None:
    rating = BradleyTerryRating()
    for_a = [Vote("a", "b", 1)] * 65 + [Vote("b", "a", 1)] * 35
    for_b = [Vote("b", "a", 1)] * 65 + [Vote("a", "b", 1)] * 35
    there = rating.rate(for_b, rating.rate(for_a, {}))
    back = rating.rate(for_a, rating.rate(for_b, {}))
    once = rating.rate([*for_a, *for_b], {})
    # What is left is of the normal approximation; counted twice, it is 17 points.
    assert there["a"].score == pytest.approx(1400, abs=2)
    assert there["a"].score == pytest.approx(back["a"].score, abs=4)
    assert _width(there["a"]) == pytest.approx(_width(once["a"]), rel=0.05)


def test_one_rated_version_says_nothing_of_the_others() -> None:
    rating = BradleyTerryRating()
    votes = [Vote("a", "b", 1)] * 20 + [Vote("b", "a", 1)] * 10
    plain = rating.rate(votes, {})
    found = rating.rate(votes, {"a": StudyRating(1700.0, 1600.0, 1800.0)})
    for item in "ab":
        assert found[item].score == pytest.approx(plain[item].score, abs=0.1)
        assert _width(found[item]) == pytest.approx(_width(plain[item]), rel=1e-3)


def test_the_order_of_extensions_hardly_matters() -> None:
    rating, rng = BradleyTerryRating(), np.random.default_rng(2)
    for count in (3, 5):
        strengths = rng.normal(scale=0.8, size=count).tolist()
        parts = [_cast(strengths, 40, rng) for _ in range(3)]
        forth: dict[str, StudyRating] = {}
        back: dict[str, StudyRating] = {}
        for part in parts:
            forth = rating.rate(part, forth)
        for part in reversed(parts):
            back = rating.rate(part, back)
        once = rating.rate([vote for part in parts for vote in part], {})
        for item, found in once.items():
            assert forth[item].score == pytest.approx(back[item].score, abs=_width(found) / 10)
            assert forth[item].score == pytest.approx(found.score, abs=_width(found) / 10)
            assert _width(forth[item]) == pytest.approx(_width(found), rel=0.03)


def test_intervals_of_extended_studies_hold_what_they_promise() -> None:
    """Of 95 %: 480 of them, with a standard error of a percent."""
    rating, rng = BradleyTerryRating(), np.random.default_rng(1)
    held = []
    for _ in range(120):
        strengths = rng.normal(scale=0.8, size=4)
        # First on three versions, then on all.
        found = rating.rate(_cast(strengths[:3].tolist(), 12, rng), {})
        for _ in range(3):
            found = rating.rate(_cast(strengths.tolist(), 12, rng), found)
        truth = 1400 + 400 / math.log(10) * (strengths - strengths.mean())
        held += [
            (found[item].low or 0) <= score <= (found[item].high or 0)
            for item, score in zip("abcd", truth, strict=True)
        ]
    assert 0.92 < sum(held) / len(held) < 0.98


def _study(root: Path, votes: str, **settings: object) -> VotesConfig:
    (root / "votes.csv").write_text("left,right,winner\n" + votes)
    for seed, path in enumerate(("r/a", "v/a_x", "v/a_y", "v/a_z", "r/b", "v/b_x", "v/b_y")):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        write_image(root / f"{path}.png", Picture(pixels))
    places = {"references": root / "r", "distorted": root / "v", "votes": root / "votes.csv"}
    return VotesConfig.model_validate({**places, "output": root / "ranks", **settings})


def test_a_study_goes_on_from_its_votes_themselves(tmp_path: Path) -> None:
    """Along a chain, where scores with intervals say little of what was compared."""
    parts = ["a_x,a_y,left\n" * 9 + "a_y,a_z,tie\n" * 6, "a_y,a_z,left\n" * 5 + "a_z,a,right\n"]
    once = build_from_judgements(_study(tmp_path, "".join(parts), output=tmp_path / "once", val=0))
    build_from_judgements(_study(tmp_path, parts[0], val=0))
    ratings = tmp_path / "ranks" / "ratings.csv"
    more = {"ratings": ratings, "output": tmp_path / "more", "val": 0}
    extended = build_from_judgements(_study(tmp_path, parts[1], **more))
    comparisons = (extended.folder / "comparisons.csv").read_text().splitlines()
    assert comparisons == [
        "left,right,votes,for_left",
        *("a,a_z,1,1.0", "a_x,a_y,9,9.0", "a_y,a_z,11,8.0"),
    ]
    assert comparisons == (once.folder / "comparisons.csv").read_text().splitlines()
    wanted = read_ratings(once.folder / "ratings.csv", BradleyTerryRating())
    found = read_ratings(extended.folder / "ratings.csv", BradleyTerryRating())
    for item, rating in wanted.items():
        assert found[item] == pytest.approx(rating, abs=1e-6)
    # Without them the intervals serve, and there are none to go on from the next time.
    ratings.with_name("comparisons.csv").unlink()
    rough = build_from_judgements(_study(tmp_path, parts[1], **more), overwrite=True)
    near = read_ratings(rough.folder / "ratings.csv", BradleyTerryRating())
    assert 1e-3 < abs(near["a_x"].score - wanted["a_x"].score) < 30
    assert not (rough.folder / "comparisons.csv").exists()


def test_votes_of_other_ratings_are_refused(tmp_path: Path) -> None:
    build_from_judgements(_study(tmp_path, "a_x,a_y,left\n", val=0))
    comparisons = tmp_path / "ranks" / "comparisons.csv"
    more = _study(
        tmp_path,
        "a_x,a_y,right\n",
        ratings=tmp_path / "ranks" / "ratings.csv",
        output=tmp_path / "more",
    )
    head = "left,right,votes,for_left\n"
    for text, message in (
        (head + "a_x,a_z,1,1\n", "votes on other versions than .*ratings.csv rates"),
        (head + "a_x,a_y,1,2\n", r"comparisons.csv:2: a_x,a_y,1,2 is no comparison"),
        (head + "a_x,a_y,0,0\n", "one vote or more"),
        (head + "a_x,a_x,1,1\n", "two items"),
        (head + "a_x,a_y,1,1\na_y,a_x,1,1\n", r"comparisons.csv:3: .* no other line"),
        (head, "holds no comparison"),
        ("left,right\n", "the first line of a file of comparisons"),
    ):
        comparisons.write_text(text)
        with pytest.raises(InvalidDataset, match=message):
            build_from_judgements(more)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("rating", [BradleyTerryRating(), ELO], ids=lambda rating: rating.method)
def test_a_dataset_of_an_extended_study(tmp_path: Path, rating: Rating) -> None:
    votes = "a_x,a_y,right\na_x,a_y,left\na_x,a_y,left\na_x,a_y,right\nb_x,b_y,left\n"
    first = build_from_judgements(_study(tmp_path, votes, rating=rating))
    old = read_ratings(first.folder / "ratings.csv", rating)
    assert {content.source: content.scores for content in first.contents} == {
        "a": (old["a_x"].score, old["a_y"].score),
        "b": (old["b_x"].score, old["b_y"].score),
    }
    config = _study(
        tmp_path,
        "a_z,a_x,left\na_x,a,tie\n",
        rating=rating,
        ratings=first.folder / "ratings.csv",
        output=tmp_path / "more",
    )
    second = build_from_judgements(config)
    new = read_ratings(second.folder / "ratings.csv", rating)
    # Nobody judged these anew: by Elo of the items, by the other of the whole reference.
    kept = ("b_x", "b_y") if rating.method == "bradley-terry" else ("a_y", "b_x", "b_y")
    assert {item: new[item] for item in kept} == {item: old[item] for item in kept}
    assert new["a_x"].score < new["a_y"].score < new["a_z"].score
    a, b = second.contents
    assert a.levels == ("hr", "x", "y", "z")
    assert a.scores == tuple(new[item].score for item in ("a", "a_x", "a_y", "a_z"))
    assert b.scores == (old["b_x"].score, old["b_y"].score)
    assert load_human_config(second.folder / "config.yaml") == config


def test_ratings_that_do_not_fit_the_study(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.csv"
    config = _study(tmp_path, "a_x,a_y,left\n", ratings=ratings)
    ratings.write_text(HEAD + "a_w,bradley-terry,400,1400,1300,1500\n")
    with pytest.raises(InvalidDataset, match=r"ratings.csv judges a_w, of which there is no image"):
        build_from_judgements(config)
    ratings.write_text(HEAD + "a_z,bradley-terry,400,1400,1300,1500\n")
    with pytest.raises(UndefinedScore, match="a: no vote compares a_x, a_y with a_z"):
        build_from_judgements(config)
    with pytest.raises(InvalidDataset, match=r"by bradley-terry .* does not go on as one by elo"):
        build_from_judgements(config.model_copy(update={"rating": ELO}))
    assert not (tmp_path / "ranks").exists()


def test_pipal_has_no_ratings(tmp_path: Path) -> None:
    file = tmp_path / "human.yaml"
    file.write_text("kind: pipal\nreferences: a\ndistorted: b\nlabels: c\noutput: d\n")
    with pytest.raises(InvalidConfig, match=r"ratings=ratings\.csv: unknown key"):
        load_human_config(file, ["ratings=ratings.csv"])
