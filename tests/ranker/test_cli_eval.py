from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker import VGG12, cli, cli_eval, evaluate, load_ranker
from ranksrgan.ranker.cli_eval import named_specs


@pytest.fixture
def rankers(tmp_path: Path) -> list[str]:
    """Specs of two Rankers."""
    specs = []
    for seed in range(2):
        path = tmp_path / f"ranker{seed}.safetensors"
        network = VGG12(4, torch.Generator().manual_seed(seed))
        save_weights(
            path, network.state_dict(), kind="ranker", architecture="vgg12", options={"width": 4}
        )
        specs.append(f"{path}?device=cpu")
    return specs


@pytest.fixture
def opened(
    monkeypatch: pytest.MonkeyPatch, held_out: PairSource
) -> list[tuple[str, dict[str, str]]]:
    """What was asked for; ``--data`` opens the held-out contents."""
    calls: list[tuple[str, dict[str, str]]] = []

    def open_pair_source(folder: str, **options: str) -> PairSource:
        calls.append((folder, options))
        return held_out

    monkeypatch.setattr(cli_eval, "open_pair_source", open_pair_source)
    return calls


def test_one_ranker(
    rankers: list[str],
    opened: list[tuple[str, dict[str, str]]],
    held_out: PairSource,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["eval", "--data", "DIR", "--ranker", rankers[0], "--format", "json"]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert opened == [("DIR", {"split": "val"})]
    expected = evaluate(load_ranker(Path(rankers[0].partition("?")[0]), device="cpu"), held_out)
    one = found["scorers"][rankers[0]]
    assert one["srocc"] == expected.srocc
    assert one["srocc_per_content"] == expected.srocc_per_content
    assert one["reversed_pairs"] == 0
    assert one["images"] == 90
    assert found["metric"] == "blur"
    assert found["usual_order"]["levels"] == list(held_out.info.levels)


def test_several_and_a_report(
    rankers: list[str],
    opened: list[tuple[str, dict[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "out.html"
    command = ["eval", "--data", "D", "--ranker", f"one={rankers[0]}", "--split", "test"]
    command += ["--ranker", f"two={rankers[1]}", "--min-gap", "1", "--report", str(page)]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert opened == [("D", {"split": "test"})]
    # Of σ = 0.3, 1 and 2 the first two differ by no more than 1, as do the last.
    assert "30 pairs that differ by more than 1; 0 (0.0%) reverse" in lines[1]
    assert [line.split()[0] for line in lines[4:8]] == ["usual", "one", "two", "blur"]
    assert "one: histograms" in page.read_text()
    assert "two: calibration" in page.read_text()


def test_a_report_replaces_no_input(
    rankers: list[str],
    opened: list[tuple[str, dict[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights, data = rankers[0].partition("?")[0], tmp_path / "data"
    (data / "levels" / "hr").mkdir(parents=True)
    inside = ("manifest.parquet", "dataset.json", "levels/hr/a.png")
    for name in inside:
        (data / name).write_text(name)
    before = Path(weights).read_bytes()
    command = ["eval", "--data", str(data), "--ranker", f"one={rankers[0]}", "--report"]
    for file in (weights, *(str(data / name) for name in inside)):
        assert cli.main([*command, file]) == 1
        said = f"{file} is an input and would be replaced: name another file with --report"
        assert capsys.readouterr().err == f"error: {said}\n"
    assert opened == []
    assert Path(weights).read_bytes() == before
    assert [(data / name).read_text() for name in inside] == list(inside)
    for _ in range(2):  # an earlier report is none
        assert cli.main([*command, str(data / "out.html")]) == 0
    assert (data / "out.html").read_text().startswith("<!doctype html>")


def test_convert_replaces_no_input(rankers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    weights = rankers[0].partition("?")[0]
    before = Path(weights).read_bytes()
    assert cli.main(["convert", weights, weights, "--half"]) == 1
    assert f"{weights} is an input and would be replaced" in capsys.readouterr().err
    assert Path(weights).read_bytes() == before


def test_another_metric_has_to_be_there(
    rankers: list[str],
    opened: list[tuple[str, dict[str, str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["eval", "--data", "D", "--ranker", rankers[0], "--metric", "ma"]) == 1
    assert "no values of 'ma'" in capsys.readouterr().err


def test_names() -> None:
    assert named_specs(["a.safetensors", "VGG-8=b.pth?device=cpu", "niqe?border=4"]) == {
        "a.safetensors": "a.safetensors",
        "VGG-8": "b.pth?device=cpu",
        "niqe?border=4": "niqe?border=4",
    }
    assert named_specs(["./lr=1e-3/ranker.pth", "remote=unix:///x.sock/niqe?border=4"]) == {
        "./lr=1e-3/ranker.pth": "./lr=1e-3/ranker.pth",
        "remote": "unix:///x.sock/niqe?border=4",
    }
    with pytest.raises(InvalidInput, match=r"a is there twice; write NAME=c\.pth"):
        named_specs(["a=b.pth", "a=c.pth"])


@pytest.mark.parametrize(
    "arguments", [["eval", "--data", "D"], ["eval", "--ranker", "a"], ["eval", "--min-gap", "x"]]
)
def test_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
