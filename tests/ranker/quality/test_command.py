"""``ranksrgan-ranker train --model NAME`` on a folder of PIPAL's form."""

from __future__ import annotations

from pathlib import Path

import pytest
from graded import graded

from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.ranker.cli import main


def test_train_model_on_a_pipal_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipal, run = tmp_path / "pipal", tmp_path / "run"
    for content in graded(3, seed=2):
        name = content.content
        assert content.reference is not None
        write_image(pipal / "Train_Ref" / f"{name}.png", from_tensor(content.reference))
        lines = []
        for level, image, score in zip(content.levels, content.images, content.scores, strict=True):
            write_image(pipal / "Train_Dist" / f"{name}_{level}.png", from_tensor(image))
            lines.append(f"{name}_{level}.bmp,{1500 - 100 * float(score)}")
        (pipal / "Train_Label").mkdir(exist_ok=True)
        (pipal / "Train_Label" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    command = ["train", "--model", "sensitivity", "--data", str(pipal), "-o", str(run)]
    small = ["crop=64", "steps=2", "device=cpu", "references=2", "validate_every=1"]
    assert main([*command, "--recipe", "small", "options={width: 2}", *small]) == 0
    shown = capsys.readouterr().out
    assert "quality.safetensors: step" in shown
    assert "main" in shown
    assert open_scorer(f"{run}/quality.safetensors?device=cpu").info.needs_reference
    assert main([*command, "--at", "grpc://127.0.0.1:1"]) == 1
    assert "leave --at out" in capsys.readouterr().err
    assert main(["train", "--model", "vgg12", "--data", str(pipal), "-o", str(run)]) == 1
    assert "'vgg12' is none of" in capsys.readouterr().err
