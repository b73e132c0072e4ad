from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import console
from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.images import from_tensor, read_image, to_tensor, write_image
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.ranker import VGG12, VGG16, RankerEnsemble, cli, load_ranker, server
from ranksrgan.ranker.settings import RankerServerSettings


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "ranker.safetensors"
    network = VGG12(4, torch.Generator().manual_seed(0))
    save_weights(
        path, network.state_dict(), kind="ranker", architecture="vgg12", options={"width": 4}
    )
    return path


@pytest.fixture
def photographs(images: Tensor, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, images, strict=False):
        write_image(path, from_tensor(image))
    return paths


@pytest.fixture
def splits(
    monkeypatch: pytest.MonkeyPatch, blur_set: PairSource, held_out: PairSource
) -> dict[str, PairSource]:
    """What ``--data anything --split NAME`` opens."""
    found = {"train": blur_set, "val": held_out}

    def opened(folder: str, *, split: str) -> PairSource:
        return found[split]

    monkeypatch.setattr(cli, "open_pair_source", opened)
    return found


def score(*arguments: object) -> int:
    return cli.main(["score", *map(str, arguments)])


def test_score_json(
    weights_file: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*photographs, "--ranker", weights_file, "--format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    ranker = load_ranker(weights_file)
    expected = [float(ranker.score(to_tensor(read_image(path)))[0]) for path in photographs]
    assert report == {
        "results": [
            {"image": str(path), "ranker": value}
            for path, value in zip(photographs, expected, strict=True)
        ],
        "mean": {"ranker": pytest.approx(sum(expected) / 2)},
        "failed": [],
    }


def test_score_goes_on_after_a_failure(
    weights_file: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, tiny, missing = (tmp_path / name for name in ("text.png", "tiny.png", "none.png"))
    broken.write_text("no image")
    write_image(tiny, from_tensor(torch.rand(3, 16, 16)))
    code = score(
        broken, photographs[0], tiny, missing, "--ranker", weights_file, "--format", "json"
    )
    assert code == 1
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert [row["image"] for row in report["results"]] == [str(photographs[0])]
    failed = {Path(row["image"]).name: row["error"] for row in report["failed"]}
    assert failed == {
        "text.png": "INVALID_IMAGE",
        "tiny.png": "IMAGE_TOO_SMALL",
        "none.png": "INVALID_IMAGE",
    }
    assert output.err.count("failed:") == 3


def test_score_of_a_folder(
    weights_file: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert score(tmp_path, empty, "--ranker", weights_file, "--format", "json") == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in report["results"]] == [str(path) for path in photographs]
    assert [row["image"] for row in report["failed"]] == [str(empty)]


def test_score_of_nothing_has_no_mean(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(tmp_path / "none.png", "--ranker", weights_file, "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)["mean"] == {}


def test_score_csv_and_table(
    weights_file: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*photographs, "--ranker", weights_file, "--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    values = [float(row["ranker"]) for row in rows]
    assert [row["image"] for row in rows] == [str(path) for path in photographs]
    assert score(*photographs, "--ranker", weights_file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "ranker"]
    assert lines[1].split() == [str(photographs[0]), f"{values[0]:.4f}"]
    assert lines[3].split() == ["mean", f"{sum(values) / 2:.4f}"]
    assert lines[4] == "lower is better"


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    path = tmp_path / "other.safetensors"
    network = VGG16(4, torch.Generator().manual_seed(1))
    save_weights(
        path, network.state_dict(), kind="ranker", architecture="vgg16", options={"width": 4}
    )
    return path


def test_score_of_several_rankers(
    weights_file: Path,
    other_file: Path,
    photographs: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = tmp_path / "tiny.png"
    write_image(tiny, from_tensor(torch.rand(3, 16, 16)))
    flags = ["--ranker", weights_file, "--ranker", other_file]
    assert score(*photographs, tiny, *flags, "--format", "json") == 1
    report = json.loads(capsys.readouterr().out)
    members = [load_ranker(path) for path in (weights_file, other_file)]
    rows = []
    for path in photographs:
        mean, spread = RankerEnsemble(members).score_with_spread(to_tensor(read_image(path)))
        rows.append({"image": str(path), "ranker": float(mean), "spread": float(spread)})
        assert float(spread) > 0
    assert report["results"] == rows
    assert set(report["mean"]) == {"ranker", "spread"}
    assert {row["error"] for row in report["failed"]} == {"IMAGE_TOO_SMALL"}
    assert score(*photographs, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "ranker", "spread"]
    assert lines[-1] == "lower is better"


def test_rankers_that_are_no_ensemble(
    weights_file: Path,
    other_file: Path,
    photographs: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert score(*photographs, "--ranker", weights_file, "--ranker", weights_file) == 1
    assert "given twice" in capsys.readouterr().err
    better = f"{other_file}?higher_is_better=true"
    assert score(*photographs, "--ranker", weights_file, "--ranker", better) == 1
    assert "lower for member 1, higher for member 2" in capsys.readouterr().err


def test_score_stops_when_the_service_has_gone(
    photographs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone:
        info = ScorerInfo("r", "1", False, False, False, 1)

        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            raise ServiceUnavailable("nobody at unix:/x.sock")

    monkeypatch.setattr(cli, "open_scorer", lambda spec, **_: Gone())
    assert score(*photographs, "--ranker", "unix:///x.sock/r") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: nobody at unix:/x.sock"


def test_score_without_a_ranker(
    photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(photographs[0], "--ranker", "none.safetensors") == 1
    assert "no such file" in capsys.readouterr().err


def test_train(
    splits: dict[str, PairSource], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("width: 4\nbatch: 4\nsteps: 2\nprecision: float32\ndevice: cpu\n")
    run = tmp_path / "run"
    arguments = ["train", "--data", "DIR", "-o", str(run), "--recipe", str(config), "steps=3"]
    assert cli.main(arguments) == 0
    first, *table = capsys.readouterr().out.splitlines()
    assert "step 3 of 3" in first
    shown = dict(line.rsplit(maxsplit=1) for line in table)
    assert (shown["reversed pairs"], shown["reversed accuracy"]) == ("0", "-")
    weights = run / "ranker.safetensors"
    assert load_weights(weights).about["steps"] == 3
    assert cli.main([*arguments, "lr=0.5"]) == 1
    assert "lr was 0.001 and is 0.5" in capsys.readouterr().err
    assert cli.main([*arguments, "lr=1e-4", "--restart", "--val-split", "none"]) == 0


def test_unknown_key(
    splits: dict[str, PairSource], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--data", "D", "-o", str(tmp_path / "run"), "stesp=3"]) == 1
    assert "did you mean steps" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_serve_passes_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RankerServerSettings] = []

    def serve(settings: RankerServerSettings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    flags = ["--ranker", "niqe=a.safetensors", "--ranker", "ma=b.pth", "--max-message-mib", "8"]
    assert cli.main(["serve", "--listen", "unix:/x.sock", *flags, "--workers", "3"]) == 0
    flags = ["--data-root", "data", "--trainings", "2", "--model-repository-root", "root"]
    assert cli.main(["serve", "--listen", "unix:/x.sock", *flags]) == 0
    rankers = {"niqe": Path("a.safetensors"), "ma": Path("b.pth")}
    assert seen == [
        RankerServerSettings(listen="unix:/x.sock", rankers=rankers, workers=3, max_message_mib=8),
        RankerServerSettings(
            listen="unix:/x.sock",
            data_root=Path("data"),
            trainings=2,
            model_repository=RepositorySettings(root=Path("root")),
        ),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["score"],
        ["train", "--data", "D"],
        ["serve", "--listen", "x:1", "--ranker", "a.safetensors"],
        ["serve", "--listen", "x:1", "--ranker", "a=b", "--queue", "-1"],
        ["fly"],
    ],
)
def test_usage(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_settings_stand_on_both_sides_of_flags() -> None:
    line = ["train", "width=4", "--data", "d", "steps=6", "-o", "run", "lr=1e-3"]
    arguments = console.parse(cli._parser(), line)
    assert arguments.overrides == ["width=4", "steps=6", "lr=1e-3"]
