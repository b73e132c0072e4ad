from __future__ import annotations

import json
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.pipeline.reproduction.findings import (
    Cell,
    Column,
    Crop,
    Curve,
    Findings,
    Histogram,
    ImageRow,
    LevelCounts,
    Row,
    Scatter,
    Table,
    Verdict,
    read_findings,
    write_findings,
)
from ranksrgan.pipeline.reproduction.table import as_text, write_table

FINDINGS = Findings(
    name="table3",
    title="RankSRGAN against SRGAN",
    claim="It is better.",
    scale="tiny",
    seeds=(0, 1),
    verdicts=(Verdict("Undecided: 0 of 1.", "undecided"), Verdict("Set14: so.", "undecided")),
    table=Table(
        (Column("NIQE", False, 2), Column("PSNR-Y", True, 1, "dB")),
        (
            Row("Set14", "SRGAN", (Cell(4.125, 0.05, 2), Cell(26.0, 0.1, 2))),
            Row("Set14", "ground truth", (Cell(5.0), Cell(None, count=0))),
        ),
    ),
    notes=("Distilled.",),
    curves=(Curve("NIQE", "SRGAN", 0, True, (0.0, 10.0), (5.0, 4.5), False),),
    histograms=(Histogram("NIQE", "NIQE", (0.0, 1.0), (LevelCounts("imdn", (3,)),)),),
    scatters=(Scatter("R", "NIQE", "R", (1.0,), (2.0,), ("imdn",), None),),
    crops=(Crop("Set14", "baboon", "SRGAN", 0, "crops/a.png", {"NIQE": None}),),
    images=(ImageRow("Set14", "baboon", "SRGAN", None, {"NIQE": 4.0}),),
)


def test_findings_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert write_findings(tmp_path, FINDINGS) == tmp_path / "findings.json"
    assert read_findings(tmp_path) == FINDINGS


def test_damaged_findings_are_refused_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not there: `ranksrgan reproduce` writes it"):
        read_findings(tmp_path)
    path = write_findings(tmp_path, FINDINGS)
    content = json.loads(path.read_text())
    content["verdicts"][0]["answer"] = "perhaps"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=r"verdicts\.0\.answer: Input should be 'held'"):
        read_findings(tmp_path)


def test_the_table_says_claim_answers_and_notes_before_the_figures(tmp_path: Path) -> None:
    assert write_table(tmp_path, FINDINGS).read_text() == (
        "# RankSRGAN against SRGAN. Scale tiny.\n"
        "# It is better.\n"
        "# undecided: Undecided: 0 of 1.\n"
        "# undecided: Set14: so.\n"
        "# Distilled.\n"
        "scale,on,method,NIQE,NIQE spread,PSNR-Y (dB),PSNR-Y (dB) spread\n"
        "tiny,Set14,SRGAN,4.12,0.05,26.0,0.1\n"
        "tiny,Set14,ground truth,5.00,,,\n"
    )


def test_the_table_on_a_terminal() -> None:
    lines = as_text(FINDINGS).splitlines()
    assert lines[0] == "RankSRGAN against SRGAN (tiny)"
    assert lines[3:7] == [
        "                       NIQE  PSNR-Y (dB)",
        "Set14",
        "  SRGAN         4.12 ± 0.05   26.0 ± 0.1",
        "  ground truth         5.00            -",
    ]
