"""``ranksrgan-ranker train --model NAME`` on folders of opinions, and the model's main score."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import torch
from graded import graded

from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.contracts.pairs import RankedContent
from ranksrgan.metrics.cli import main as metrics
from ranksrgan.rankdata.cli import main as rankdata
from ranksrgan.ranker.cli import main

Capture = pytest.CaptureFixture[str]

SMALL = ["--recipe", "small", "options={width: 2}", "crop=64", "steps=2", "device=cpu"]
SMALL += ["references=2", "validate_every=1"]


@pytest.fixture(scope="module")
def contents() -> list[RankedContent]:
    return graded(3, seed=2)


@pytest.fixture(scope="module")
def pipal(contents: list[RankedContent], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "pipal"
    for number, content in enumerate(contents, start=1):
        name = f"A{number:04d}"
        assert content.reference is not None
        write_image(root / "Train_Ref" / f"{name}.png", from_tensor(content.reference))
        lines = []
        for version, (image, score) in enumerate(zip(content.images, content.scores, strict=True)):
            file = f"{name}_{version // 3:02d}_{version % 3:02d}"
            write_image(root / "Train_Dist" / f"{file}.png", from_tensor(image))
            lines.append(f"{file}.bmp,{1500 - 100 * float(score)}")
        (root / "Train_Label").mkdir(exist_ok=True)
        (root / "Train_Label" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def tid(contents: list[RankedContent], tmp_path: Path) -> Path:
    """The case of names mixed as in TID2013."""
    root, lines = tmp_path / "tid2013", []
    for number, content in enumerate(contents, start=1):
        assert content.reference is not None
        write_image(
            root / "reference_images" / f"I{number:02d}.png", from_tensor(content.reference)
        )
        for version, (image, score) in enumerate(zip(content.images, content.scores, strict=True)):
            name = f"{number:02d}_{1 + version // 3:02d}_{1 + version % 3}"
            write_image(root / "distorted_images" / f"i{name}.png", from_tensor(image))
            lines.append(f"{7 - float(score):.5f} I{name}.bmp")
    (root / "mos_with_names.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def weights(pipal: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return train(pipal, tmp_path_factory.mktemp("trained"))


def train(data: Path, run: Path) -> str:
    command = ["train", "--model", "sensitivity", "--data", str(data), "-o", str(run), *SMALL]
    assert main(command) == 0
    return f"{run}/quality.safetensors?device=cpu"


def test_train_model_on_a_pipal_folder(pipal: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    weights = train(pipal, run)
    shown = capsys.readouterr().out
    assert "quality.safetensors: step" in shown
    assert "main" in shown
    assert open_scorer(weights).info.needs_reference
    assert main(["train", "--model", "vgg12", "--data", str(pipal), "-o", str(run)]) == 1
    assert "'vgg12' is none of" in capsys.readouterr().err


def test_from_a_pipal_folder_to_the_main_score_by_commands(
    pipal: Path, weights: str, tmp_path: Path, capsys: Capture
) -> None:
    images, references = str(pipal / "Train_Dist"), ["--reference", str(pipal / "Train_Ref")]
    as_csv = ["--format", "csv"]
    scores = tmp_path / "scores.csv"
    command = ["score", images, "--metric", weights, *references, *as_csv, "-o", str(scores)]
    assert metrics(command) == 0
    capsys.readouterr()
    judged = ["protocol", "--predictions", str(scores), "--mos", str(pipal / "Train_Label")]
    assert metrics(judged) == 0
    table = capsys.readouterr().out
    main_score = float(re.findall(r"main.*\n.*?(\d\.\d{4})", table)[0])
    assert 0 < main_score <= 2
    # The Ranker's own command gives the same numbers.
    assert main(["score", images, "--ranker", weights, *references, *as_csv]) == 0
    found = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert found[1:] == list(csv.reader(io.StringIO(scores.read_text())))[1:]
    assert len(found) == 1 + 36
    # So does its evaluation, over the same images.
    assert main(["eval", "--data", str(pipal), "--ranker", weights, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_score_says_whether_references_are_wanted(
    pipal: Path, weights: str, tmp_path: Path, capsys: Capture
) -> None:
    one = str(pipal / "Train_Dist" / "A0001_00_00.png")
    assert main(["score", one, "--ranker", weights]) == 1
    assert "--reference is needed" in capsys.readouterr().err
    assert main(["score", one, "--reference", one]) == 1  # the shipped Ranker
    assert "looks at no original" in capsys.readouterr().err
    stranger = tmp_path / "B0001_00_00.png"
    write_image(stranger, from_tensor(torch.rand(3, 64, 64)))
    reference = ["--reference", str(pipal / "Train_Ref")]
    assert main(["score", str(stranger), one, "--ranker", weights, *reference]) == 1
    told = capsys.readouterr()
    assert "no reference named B0001_00_00" in told.err
    assert "A0001_00_00" in told.out


def test_train_model_on_a_tid2013_folder(tid: Path, tmp_path: Path, capsys: Capture) -> None:
    weights = train(tid, tmp_path / "run")
    scores = tmp_path / "scores.csv"
    command = ["score", str(tid / "distorted_images"), "--metric", weights, "--format", "csv"]
    reference = ["--reference", str(tid / "reference_images")]
    assert metrics([*command, *reference, "-o", str(scores)]) == 0
    capsys.readouterr()
    mos = str(tid / "mos_with_names.txt")
    assert metrics(["protocol", "--predictions", str(scores), "--mos", mos]) == 0
    assert "36" in capsys.readouterr().out


def test_train_model_on_a_rank_dataset_with_references(
    pipal: Path, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "pipal.yaml"
    ranks = tmp_path / "ranks"
    config.write_text(
        f"kind: pipal\nreferences: {pipal / 'Train_Ref'}\ndistorted: {pipal / 'Train_Dist'}\n"
        f"labels: {pipal / 'Train_Label'}\noutput: {ranks}\nval: 0.34\n"
    )
    assert rankdata(["human", "--recipe", str(config)]) == 0
    assert open_scorer(train(ranks, tmp_path / "run")).info.name == "sensitivity"
    assert "main" in capsys.readouterr().out
