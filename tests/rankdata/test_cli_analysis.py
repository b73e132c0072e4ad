from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts import console
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.cli import main
from ranksrgan.rankdata.cli_analysis import add_commands
from ranksrgan.rankdata.pack import read_index


def run(*argv: str | Path) -> int:
    """As ``main`` does it."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args([str(word) for word in argv])
    command: Callable[[argparse.Namespace], int] = arguments.command
    return console.run(lambda: command(arguments))


def test_bound(by_hand: RankDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bound", by_hand.folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "metric: niqe (lower is better)"
    assert lines[2:8] == [
        "low / mid: 6 contents",
        "                              mean   better",
        "low                         4.5000    16.7%",
        "mid                         4.0000    66.7%",
        "best of each content        3.6667",
        "gain over mid               0.3333",
    ]
    assert "low / mid / high: 6 contents" in lines
    assert lines[-1] == "gain over high              0.2500"


def test_bound_as_json(by_hand: RankDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bound", by_hand.folder, "--split", "val", "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metric"]["name"] == "niqe"
    assert [list(bound["levels"]) for bound in content["bounds"]] == [
        ["low", "mid"],
        ["low", "high"],
        ["mid", "high"],
        ["low", "mid", "high"],
    ]
    assert content["bounds"][0] == {
        "contents": 2,
        "levels": {
            "low": {"mean": 6.0, "better": 0.0},
            "mid": {"mean": 4.5, "better": 1.0},
        },
        "best": "mid",
        "bound": 4.5,
        "gain": 0.0,
    }


def test_bound_of_psnr_is_json(
    write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    psnr = ScorerInfo("psnr", "1", True, True, False, 1)
    folder = write_dataset({("one", "train", 0): (30.0, math.inf)}, metric=psnr)
    assert run("bound", folder, "--format", "json") == 0
    (bound,) = json.loads(capsys.readouterr().out)["bounds"]
    assert (bound["best"], bound["bound"], bound["gain"]) == ("high", None, None)
    assert bound["levels"]["high"] == {"mean": None, "better": 1.0}


def test_pack(hashed: RankDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pack", hashed.folder, "--shard-mib", "2") == 0
    index = read_index(hashed)
    expected = f"6 contents in 1 file(s), {index.bytes / 1e6:.1f} MB, in {hashed.folder}/pack\n"
    assert capsys.readouterr().out == expected


def test_export_and_import(
    by_hand: RankDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official, ranks = tmp_path / "official", tmp_path / "ranks"
    assert run("export-labels", by_hand.folder, "-o", official, "--levels", "low", "high") == 0
    assert capsys.readouterr().out == f"6 contents at 2 levels in {official}\n"
    common = (
        "import-labels",
        "--level",
        f"low={official}/low",
        f"high={official}/high",
        "--labels",
        official / "labels.txt",
        "-o",
        ranks,
        "--val",
        "0.5",
    )
    assert run(*common) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 3 patches",
        "val: 3 patches",
        f"2 levels labelled by niqe (lower is better) in {ranks}",
        "split by patch: crops of one image may be in two splits (--sources prevents it)",
    ]
    assert main(["inspect", str(ranks)]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "split            patches",
        "train                  3",
    ]
    assert run(*common) == 1
    assert "already holds a dataset" in capsys.readouterr().err
    assert run(*common, "--higher-is-better") == 1
    assert "the better values of niqe are the lower ones" in capsys.readouterr().err
    (official / "labels.metric.yaml").unlink()
    more = ("--force", "--metric", "opinions", "--higher-is-better", "--sources")
    assert run(*common, *more, official / "sources.csv") == 0
    assert "split by patch" not in capsys.readouterr().out
    dataset = RankDataset.open(ranks)
    assert (dataset.metric.name, dataset.metric.higher_is_better) == ("opinions", True)
    assert dataset.levels == ("low", "high")


def test_human(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    lines = ["left,right,winner"]
    for reference in "abc":
        for path in (
            f"references/{reference}",
            f"versions/{reference}_x",
            f"versions/{reference}_y",
        ):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            write_image(tmp_path / f"{path}.png", Picture(pixels))
        lines.append(f"{reference}_x,{reference}_y,left")
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    config = tmp_path / "human.yaml"
    config.write_text(
        f"kind: votes\nreferences: {tmp_path}/references\ndistorted: {tmp_path}/versions\n"
        f"votes: {tmp_path}/votes.csv\noutput: {tmp_path}/ranks\n"
    )
    assert run("human", "--recipe", config, "val=0.4") == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 2 crops of 2 images",
        "val: 1 crops of 1 images",
        f"2 levels labelled by votes:bradley-terry (higher is better) in {tmp_path}/ranks",
        f"ratings to go on from in {tmp_path}/ranks/ratings.csv",
    ]
    assert run("human", "--recipe", config, "--force", "rating.method=elo") == 0
    assert "votes:elo" in capsys.readouterr().out


def test_a_study_goes_on_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for reference in "abc":
        for path in (f"r/{reference}", f"v/{reference}_x", f"v/{reference}_y", f"v/{reference}_z"):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            write_image(tmp_path / f"{path}.png", Picture(pixels))
    votes, config = tmp_path / "votes.csv", tmp_path / "human.yaml"
    config.write_text(
        f"kind: votes\nreferences: {tmp_path}/r\ndistorted: {tmp_path}/v\n"
        f"votes: {votes}\noutput: {tmp_path}/ranks\n"
    )
    votes.write_text("left,right,winner\na_x,a_y,left\nb_x,b_y,left\nc_x,c_y,left\n")
    assert run("human", "--recipe", config) == 0
    ratings = tmp_path / "ranks" / "ratings.csv"
    before = ratings.read_text().splitlines()
    votes.write_text("left,right,winner\na_y,a_z,right\n")
    # From the dataset that it replaces.
    assert run("human", "--recipe", config, "--force", "--ratings", ratings) == 0
    after = ratings.read_text().splitlines()
    assert (after[:1], after[4:]) == (before[:1], before[3:])
    assert [line.split(",")[0] for line in after[1:4]] == ["a_x", "a_y", "a_z"]
    assert after[1] != before[1]
    assert RankDataset.open(tmp_path / "ranks").levels == ("x", "y", "z")
    ratings.write_text("item,score\n")
    assert run("human", "--recipe", config, "--force", "--ratings", ratings) == 1
    assert f"{ratings}:1: the first line of a file of ratings" in capsys.readouterr().err
    config.write_text(
        f"kind: pipal\nreferences: {tmp_path}/r\ndistorted: {tmp_path}/v\n"
        f"labels: {votes}\noutput: {tmp_path}/pipal\n"
    )
    assert run("human", "--recipe", config, "--ratings", ratings) == 1
    assert "--ratings goes on from ratings of votes, and kind is pipal" in capsys.readouterr().err


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bound", tmp_path) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is no rank dataset")
    with pytest.raises(SystemExit):
        run("pack", tmp_path, "--shard-mib", "0")
    assert "not a whole number of 1 or more" in capsys.readouterr().err
