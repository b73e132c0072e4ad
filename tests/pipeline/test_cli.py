from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import ranksrgan.metrics.cli
import ranksrgan.pipeline.cli
import ranksrgan.rankdata.cli
import ranksrgan.ranker.cli
import ranksrgan.srgan.cli
from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.pipeline.cli import main
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.pipeline.stages import RANKSRGAN, Outcome

HASH = "parameters_hash"


@pytest.mark.parametrize("command", ["pipeline", "run"])
def test_a_finished_pipeline_file_is_continued(
    command: str,
    small_run: tuple[PipelineConfig, Outcome],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, outcome = small_run
    path = tmp_path / "pipeline.yaml"
    path.write_text(dump_yaml(config))
    assert main([command, str(path)]) == 0
    printed = capsys.readouterr().out
    for name in outcome.scores:
        assert name in printed
    stages = ["1-srresnet", "2-srgan", "4-ranker", "5-ranksrgan", "6-control"]
    lines = [line.split() for line in printed.splitlines()[-10:]]
    assert [line[0] for line in lines] == [name for stage in stages for name in (stage, HASH)]
    hashes = [line[1] for line in lines[1::2]]
    assert hashes[2] == open_scorer(str(outcome.ranker)).info.parameters_hash
    assert hashes[3] == open_upscaler(outcome.models[RANKSRGAN]).info.parameters_hash


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("training: a\nheld_out: b\noutput: c\nsrgam: {recipe: srgan}\n")
    assert main(["pipeline", str(path)]) == 1
    error = capsys.readouterr().err
    assert "pipeline.yaml: srgam: unknown key; did you mean srgan?" in error


def test_no_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "program",
    [
        ranksrgan.metrics.cli,
        ranksrgan.pipeline.cli,
        ranksrgan.rankdata.cli,
        ranksrgan.ranker.cli,
        ranksrgan.srgan.cli,
    ],
    ids=lambda program: program.__name__,
)
def test_help_is_plain_text_of_one_form(
    program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(["--help"])
    assert caught.value.code == 0
    usage, _, told = capsys.readouterr().out.partition("\n\n")
    assert usage.endswith("[-h] [--version] COMMAND ...")
    assert told.split("\n\n")[0].endswith(".")
    assert "`" not in told


@pytest.mark.parametrize("command", ["pipeline", "demo"])
def test_settings_stand_on_both_sides_of_flags(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("training: a\nheld_out: b\noutput: c\n")
    start = [command, str(path)] if command == "pipeline" else [command, "-o", str(tmp_path)]
    flag = "--remote" if command == "pipeline" else "--from-nothing"
    assert main([*start, "first_one=1", flag, "second_one=2"]) == 1
    said = capsys.readouterr().err
    assert "first_one" in said
    assert "second_one" in said
