"""What a person may get wrong with a folder of opinions, told at the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.ranker.cli import main


@pytest.fixture
def pipal(tmp_path: Path) -> Path:
    """Two references of three versions each."""
    root = tmp_path / "pipal"
    for name in ("A0001", "A0002"):
        reference = torch.rand(3, 64, 64)
        write_image(root / "Train_Ref" / f"{name}.png", from_tensor(reference))
        lines = []
        for version in range(3):
            noisy = (reference + 0.1 * version * torch.randn(3, 64, 64)).clamp(0, 1)
            file = f"{name}_00_0{version}"
            write_image(root / "Train_Dist" / f"{file}.png", from_tensor(noisy))
            lines.append(f"{file}.bmp,{1500 - 100 * version}")
        (root / "Train_Label").mkdir(exist_ok=True)
        (root / "Train_Label" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def _other_size(root: Path) -> None:
    write_image(root / "Train_Ref" / "A0002.png", from_tensor(torch.rand(3, 64, 66)))


def _no_reference(root: Path) -> None:
    (root / "Train_Ref" / "A0001.png").unlink()


def _unknown_image(root: Path) -> None:
    with (root / "Train_Label" / "A0001.txt").open("a") as file:
        file.write("A0001_00_07.bmp,1300\n")


def _one_image(root: Path) -> None:
    (root / "Train_Label" / "A0001.txt").write_text("A0001_00_00.bmp,1500\n")
    (root / "Train_Label" / "A0002.txt").unlink()


def _all_equal(root: Path) -> None:
    for path in (root / "Train_Label").iterdir():
        names = [line.partition(",")[0] for line in path.read_text().splitlines()]
        path.write_text("".join(f"{name},1400\n" for name in names))


@pytest.mark.parametrize("model", ["sensitivity", "fusion"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_size, r"A0002"),
        (_no_reference, r"A0001_00_00.* no reference"),
        (_unknown_image, r"A0001_00_07"),
        (_one_image, r"1 judged image"),
        (_all_equal, r"all 6 opinions are"),
    ],
)
def test_bad_opinions_are_named_and_nothing_is_left_half_done(
    pipal: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    spoil(pipal)
    run = tmp_path / "run"
    own = ["steps=1", "crop=64", "device=cpu"] if model == "sensitivity" else ["metrics=[psnr]"]
    assert main(["train", "--model", model, "--data", str(pipal), "-o", str(run), *own]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error), error
    assert not (run / "quality.safetensors").exists()
