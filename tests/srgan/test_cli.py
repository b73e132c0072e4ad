from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ranksrgan.contracts import console
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.serving.upscale_order import StreamLimits
from ranksrgan.srgan import cli, server
from ranksrgan.srgan.cli import main
from ranksrgan.srgan.settings import SrganServerSettings
from ranksrgan.srgan.training.train import TrainResult


def test_train_from_a_file_with_overrides(
    config, hr_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_yaml(config(data={"hr": None})))
    folder = tmp_path / "run"
    command = ["train", "--recipe", str(recipe), "-o", str(folder), "--hr", str(hr_folder)]
    assert main([*command, "--val", str(hr_folder), "run.steps=2"]) == 0
    out = capsys.readouterr().out
    assert "generator.safetensors: step 2, psnr" in out
    assert "best.safetensors: best by psnr" in out
    assert {"curves.csv", "validation.csv", "config.yaml", "run.json", "last.state.pt"} <= {
        path.name for path in folder.iterdir()
    }
    assert main([*command, "--val", str(hr_folder), "run.steps=2", "data.crop=32"]) == 1
    assert "data.crop: 64 then, 32 now" in capsys.readouterr().err
    assert main([*command, "run.steps=1", "data.crop=32", "--restart"]) == 0


@pytest.mark.parametrize(
    ("flags", "drifted", "said"),
    [
        ([], False, "stopped early; the same command continues"),
        (["--restart"], False, "stopped early; the same command without --restart continues"),
        ([], True, "stopped early by a drift alarm: NIQE fell; the same command continues"),
    ],
)
def test_how_a_training_that_stopped_is_continued(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    drifted: bool,
    said: str,
) -> None:
    generator, alarms = tmp_path / "generator.safetensors", ("older", "NIQE fell")
    stopped = TrainResult(3, False, generator, None, None, {}, alarms, drifted)
    monkeypatch.setattr("ranksrgan.srgan.training.train.train", lambda *_, **__: stopped)
    command = ["train", "--recipe", "srresnet", "-o", str(tmp_path), *flags]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert shown.out == f"{generator}: step 3\n"
    assert shown.err.splitlines()[-1] == said
    # Of several processes the first one speaks for all.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(command) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--recipe", "srresnet", "run.stops=3"],
            "run.stops=3: unknown key; did you mean run.steps?",
        ),
        (["--recipe", "srrresnet"], "neither a recipe"),
        (["--recipe", "srresnet", "run.steps"], "overrides look like"),
        (["--recipe", "srresnet"], "data.hr names no folder"),
    ],
)
def test_train_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["train", "-o", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_eval_in_three_formats(
    weights_file: Path, hr_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--model", "bicubic?scale=4", str(weights_file), "--hr", str(hr_folder)]
    assert main([*command, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    bicubic = content["bicubic?scale=4"]
    assert [row["image"] for row in bicubic["images"]] == [f"{i}.png" for i in range(4)]
    mean = sum(row["psnr"] for row in bicubic["images"]) / 4
    assert bicubic["mean"]["psnr"] == pytest.approx(mean)
    assert bicubic["mean"]["niqe"] is None

    assert main([*command, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 8
    assert float(rows[0]["psnr"]) == bicubic["images"][0]["psnr"]

    assert main(command) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["model", "psnr", "ssim", "niqe"]
    assert table[1].split()[:2] == ["bicubic?scale=4", f"{mean:.4f}"]
    assert "bicubic?scale=4: niqe has no value for 4 of 4" in table


def test_eval_refuses_what_is_no_generator(
    hr_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    model = str(tmp_path / "x.safetensors")
    assert main(["eval", "--model", model, "--hr", str(hr_folder)]) == 1
    assert "x.safetensors is damaged" in capsys.readouterr().err


def test_a_spool_has_room_for_a_file_of_a_stream(tmp_path: Path) -> None:
    settings = SrganServerSettings(listen="unix:s", spool=tmp_path, spool_mib=512)
    with pytest.raises(InvalidConfig, match=r"512 MiB do not hold.*upscale_stream\.max_bytes"):
        settings.check()
    settings.model_copy(update={"upscale_stream": StreamLimits(max_bytes=2**29)}).check()


def test_serve_hands_its_flags_over(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[SrganServerSettings] = []

    def serve(settings: SrganServerSettings) -> int:
        given.append(settings)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    flags = ["--listen", "unix:/s.sock", "--workers", "3", "--queue", "5"]
    flags += ["--max-pixels", "99", "--max-message-mib", "2"]
    flags += ["--data-root", "root", "--trainings", "2", "--ranker", "niqe=grpc://gpu:50052/n"]
    flags += ["--model-repository-root", "repository", "--model-repository-poll", "5"]
    flags += ["--model-repository-manage"]
    assert main(["serve", "--model", "a=x.safetensors", "b=y.safetensors", *flags]) == 0
    assert given == [
        SrganServerSettings(
            listen="unix:/s.sock",
            models={"a": Path("x.safetensors"), "b": Path("y.safetensors")},
            data_root=Path("root"),
            rankers={"niqe": "grpc://gpu:50052/n"},
            trainings=2,
            workers=3,
            queue=5,
            max_pixels=99,
            max_message_mib=2,
            model_repository=RepositorySettings(root=Path("repository"), poll=5, manage=True),
        )
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train", "-o", "x"],
        ["serve", "--model", "noname", "--listen", "x"],
        ["serve", "--model", "a=x", "a=y", "--listen", "x"],
        ["serve", "--model", "a=x", "--listen", "x", "--workers", "0"],
        ["serve", "--ranker", "noname", "--listen", "x"],
        ["remote", "train", "--at", "unix:s.sock", "-o", "generators/x"],
        ["remote"],
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize("command", [["train"], ["remote", "train", "--at", "unix:s.sock"]])
def test_settings_stand_on_both_sides_of_flags(command: list[str]) -> None:
    line = ["--recipe", "srgan", "--hr", "a", "data.crop=96", "-o", "generators/x", "run.steps=6"]
    arguments = console.parse(cli._parser(), [*command, *line])
    assert arguments.overrides == ["data.crop=96", "run.steps=6"]
    assert str(arguments.output) == "generators/x"
