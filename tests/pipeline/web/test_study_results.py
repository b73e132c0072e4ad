"""Votes as ratings, and as what rank data reads."""

from __future__ import annotations

import math
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts import open_pair_source
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.metrics import Vote, read_votes
from ranksrgan.pipeline.web.study import Pair, Showing, Study, open_study
from ranksrgan.pipeline.web.study_results import copy_versions, standings, votes_csv
from ranksrgan.pipeline.web.vote_book import Ballot, Choice, VoteBook
from ranksrgan.rankdata.human import VotesConfig, build_from_judgements


def ballot(content: str, left: str, right: str, choice: Choice, position: int = 1) -> Ballot:
    pair = Pair(content, *sorted((left, right)))
    time = "2026-01-02T03:04:05.678+00:00"
    return Ballot("Zoë K.", position, Showing(pair, left, right), choice, time, 900)


def test_the_csv_file_is_what_the_reader_of_votes_takes(tmp_path: Path) -> None:
    ballots = [
        ballot("cat", "soft", "sharp", "right", 1),
        ballot("my cup", "sharp", "v1.2 (x)", "left", 2),
        ballot("cat", "noisy", "soft", "tie", 3),
    ]
    path = tmp_path / "votes.csv"
    path.write_text(votes_csv(ballots))
    assert read_votes(path) == [
        Vote("cat_soft", "cat_sharp", 0.0),
        Vote("my cup_sharp", "my cup_v1.2 (x)", 1.0),
        Vote("cat_noisy", "cat_soft", 0.5),
    ]
    assert path.read_text().splitlines()[:2] == [
        "left,right,winner,content,left_method,right_method,rater,position,time,milliseconds",
        "cat_soft,cat_sharp,cat_sharp,cat,soft,sharp,Zoë K.,1,2026-01-02T03:04:05.678+00:00,900",
    ]


def test_rank_data_is_built_of_a_study(study: Study, book: VoteBook, tmp_path: Path) -> None:
    order = ("sharp", "soft", "noisy")  # the better first
    for rater in ("Ada", "Bo"):
        for showing in study.ahead(rater, ()):
            left = order.index(showing.left) < order.index(showing.right)
            book.record("faces", rater, showing, "left" if left else "right", 500)
    (tmp_path / "votes.csv").write_text(votes_csv(book.ballots("faces")))
    assert copy_versions(study, tmp_path / "versions") == 6
    for content in ("cat", "cup"):
        path = tmp_path / "references" / f"{content}.png"
        write_image(path, Picture(np.zeros((40, 48, 3), np.uint8)))
    config = VotesConfig(
        output=tmp_path / "ranks",
        references=tmp_path / "references",
        distorted=tmp_path / "versions",
        votes=tmp_path / "votes.csv",
        val=0,
    )
    dataset = build_from_judgements(config)
    contents = dataset.contents
    assert [content.source for content in contents] == ["cat", "cup"]
    for content in contents:
        scores = dict(zip(content.levels, content.scores, strict=True))
        assert scores["sharp"] > scores["soft"] > scores["noisy"]
    source = open_pair_source(str(dataset.folder), split="train")
    assert (source.info.metric, source.info.higher_is_better) == ("votes:bradley-terry", True)
    assert source.info.pairs == 2 * 3
    for known, read in zip(contents, source.contents(), strict=True):
        at = dict(zip(read.levels, range(3), strict=True))
        for better, worse in combinations(order, 2):
            assert read.scores[at[better]] > read.scores[at[worse]]
        for method in order:
            path = study.images[known.source][method]
            assert torch.equal(read.images[at[method]], to_tensor(read_image(path))[0] / 255)


def test_an_original_in_a_study_is_rank_datas_reference(
    study_folder: Path, book: VoteBook, tmp_path: Path
) -> None:
    for content in ("cat", "cup"):
        (study_folder / content / "sharp.png").rename(study_folder / content / "hr.png")
    study = open_study("faces", study_folder)
    for showing in study.ahead("Ada", ()):
        book.record("faces", "Ada", showing, "left" if showing.left == "hr" else "right", 500)
    (tmp_path / "votes.csv").write_text(votes_csv(book.ballots("faces")))
    assert copy_versions(study, tmp_path / "versions") == 4
    for content in ("cat", "cup"):
        path = tmp_path / "references" / f"{content}.png"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(study_folder / content / "hr.png", path)
    config = VotesConfig(
        output=tmp_path / "ranks",
        references=tmp_path / "references",
        distorted=tmp_path / "versions",
        votes=tmp_path / "votes.csv",
        val=0,
    )
    for content in build_from_judgements(config).contents:
        assert set(content.levels) == {"hr", "soft", "noisy"}


def test_standings(tmp_path: Path) -> None:
    ballots = [ballot("cat", "a", "b", "left"), ballot("cup", "b", "a", "tie")]
    first, second = standings(ballots)
    assert (first.method, first.wins, first.ties, first.losses) == ("a", 1, 1, 0)
    assert (second.method, second.wins, second.ties, second.losses) == ("b", 0, 1, 1)
    assert first.elo + second.elo == pytest.approx(2800)
    assert first.strength is not None
    assert second.strength is not None
    # Half a tie with an imaginary method draws the odds of 3 to 1 together.
    assert 0 < first.strength - second.strength < 400 * math.log10(3)


def test_methods_that_no_vote_connects_have_elo_alone() -> None:
    found = standings([ballot("cat", "a", "b", "left"), ballot("cat", "c", "d", "left")])
    assert {standing.method for standing in found} == {"a", "b", "c", "d"}
    assert {standing.strength for standing in found} == {None}
    assert found[0].elo == pytest.approx(found[1].elo)


def test_no_votes_no_standings() -> None:
    assert standings([]) == []
