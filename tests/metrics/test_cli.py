from __future__ import annotations

import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ranksrgan.contracts.assets import ASSETS
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.images import Picture, from_tensor, write_image
from ranksrgan.contracts.rpc import ServerLimits, start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ImageServerSettings
from ranksrgan.metrics import METRICS, MetricCatalog, niqe, niqe_features, psnr, rmse, server, ssim
from ranksrgan.metrics.cli import main
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.ranker import VGG12

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def crops(tmp_path: Path, photograph: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Two originals in ``hr`` and noisy versions of them in ``sr``."""
    images = {}
    photo = photograph("chelsea")
    for name, left in (("a", 0), ("b", 200)):
        original = photo[..., 40:160, left : left + 220].contiguous()
        noisy = (original + torch.randn(original.shape) * 9).clamp(0, 255).byte()
        for folder, image in (("hr", original), ("sr", noisy)):
            write_image(tmp_path / folder / f"{name}.png", from_tensor(image[0]))
            images[f"{folder}/{name}"] = image
    return images


def score(capsys: Capture, *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = main(["score", *map(str, arguments), "--format", "json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_json(tmp_path: Path, crops: dict[str, Tensor], capsys: Capture) -> None:
    metrics = {"niqe": niqe, "psnr": psnr, "ssim": ssim, "rmse": rmse}
    code, document, errors = score(
        capsys, tmp_path / "sr", "--reference", tmp_path / "hr", "--metric",
        "niqe,psnr,ssim,rmse", "--border", 4, "--luma", "gray",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    assert list(document) == ["results", "mean", "failed"]
    assert document["failed"] == []
    rows = document["results"]
    assert [row["image"] for row in rows] == [str(tmp_path / "sr" / f"{n}.png") for n in "ab"]
    for row, name in zip(rows, "ab", strict=True):
        assert list(row) == ["image", *metrics]
        image, original = crops[f"sr/{name}"], crops[f"hr/{name}"]
        assert row["niqe"] == float(niqe(image, 4, "gray"))
        for metric in (psnr, ssim, rmse):
            assert row[metric.__name__] == float(metric(image, original, 4, "gray"))
    for metric_name in metrics:
        expected = sum(row[metric_name] for row in rows) / 2
        assert document["mean"][metric_name] == pytest.approx(expected)


def test_defaults_are_niqe_on_y_without_border(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    code, document, _ = score(capsys, tmp_path / "sr" / "a.png")
    assert code == 0
    assert document["results"][0]["niqe"] == float(niqe(crops["sr/a"]))


def test_csv_table_and_output_file(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    arguments = ["score", str(tmp_path / "sr"), "--reference", str(tmp_path / "hr" / "a.png")]
    arguments += ["--metric", "psnr,niqe"]
    assert main([*arguments, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = [float(psnr(crops[f"sr/{name}"], crops["hr/a"])) for name in "ab"]
    assert [float(row["psnr"]) for row in rows] == expected
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "psnr", "niqe"]
    assert lines[3].split()[:2] == ["mean", f"{sum(expected) / 2:.4f}"]
    assert len({len(line) for line in lines}) == 1
    output = tmp_path / "new" / "scores.csv"
    assert main([*arguments, "--format", "csv", "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""
    assert list(csv.DictReader(io.StringIO(output.read_text()))) == rows


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.png"
    noise = np.random.default_rng(0).integers(0, 256, (120, 220, 3), dtype=np.uint8)
    if kind == "truncated":
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "text":
        path.write_text("this is not a picture\n")
    elif kind == "empty":
        path.touch()
    elif kind == "huge":
        header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")
        )
    elif kind == "cmyk":
        path = path.with_suffix(".jpg")
        Image.fromarray(noise).convert("CMYK").save(path)
    elif kind == "small":
        Image.fromarray(noise[:95, :95]).save(path)
    elif kind == "flat":
        Image.new("RGB", (200, 200), (90, 90, 90)).save(path)
    return path


def test_an_output_replaces_no_input(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    NiqeModel.published().save(Path("niqe.json"))
    save_weights(
        Path("r.safetensors"),
        VGG12(4, torch.Generator().manual_seed(0)).state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 4},
    )
    Path("scores").mkdir()
    for name in ("p.csv", "m.csv", "scores/q.txt"):
        Path(name).write_text("image,score\na.png,1\nb.png,2\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command, output in (
        ("score sr/a.png", "sr/a.png"),
        ("score sr", "sr/../sr/b.png"),
        ("score sr/a.png --metric psnr --reference hr/a.png", "hr/a.png"),
        ("score sr --metric psnr --reference hr", "hr/b.png"),
        ("score sr --niqe-model niqe.json", "niqe.json"),
        ("score sr --metric r.safetensors?device=cpu", "r.safetensors"),
        ("score sr --metric niqe,niqe+0.1*r.safetensors", "r.safetensors"),
        ("compare sr hr", "hr/a.png"),
        ("features sr", "sr/a.png"),
        ("protocol --predictions p.csv --mos m.csv", "p.csv"),
        ("protocol --predictions p.csv --mos m.csv", "m.csv"),
        ("protocol --predictions scores --mos m.csv", "scores/q.txt"),
        ("fit-niqe hr", "hr/a.png"),
        ("fit-ma hr --scores m.csv", "m.csv"),
    ):
        assert main([*command.split(), "-o", output]) == 1
        said = f"error: {output} is an input and would be replaced: name another file with -o\n"
        assert capsys.readouterr().err == said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for _ in range(2):  # an earlier output is none, though it lies beside the images
        assert main(["score", "sr", "--format", "csv", "-o", "sr/scores.csv"]) == 0
    assert Path("sr/scores.csv").read_text().startswith("image,niqe\n")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("truncated", "INVALID_IMAGE"),
        ("text", "INVALID_IMAGE"),
        ("empty", "INVALID_IMAGE"),
        ("huge", "IMAGE_TOO_LARGE"),
        ("cmyk", "INVALID_IMAGE"),
        ("small", "IMAGE_TOO_SMALL"),
        ("flat", "UNDEFINED_SCORE"),
        ("missing", "INVALID_IMAGE"),
    ],
)
def test_a_bad_file_is_reported_and_the_others_are_scored(
    kind: str, error: str, tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    bad = bad_file(tmp_path, kind)
    code, document, errors = score(capsys, bad, tmp_path / "sr" / "a.png")
    assert code == 1
    (failure,) = document["failed"]
    assert list(failure) == ["image", "error", "message"]
    assert (failure["image"], failure["error"]) == (str(bad), error)
    assert failure["message"].startswith(str(bad))
    assert failure["message"] in errors
    expected = float(niqe(crops["sr/a"]))
    assert document["results"] == [{"image": str(tmp_path / "sr" / "a.png"), "niqe": expected}]
    assert document["mean"] == {"niqe": expected}


def test_a_palette_image_is_read_in_its_colours(tmp_path: Path, capsys: Capture) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (120, 220, 3), dtype=np.uint8)
    palette = Image.fromarray(noise).quantize(64)
    palette.save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as written:
        assert written.mode == "P"
    pixels = torch.from_numpy(np.array(palette.convert("RGB")).transpose(2, 0, 1)[None].copy())
    code, document, _ = score(capsys, tmp_path / "palette.png")
    assert code == 0
    assert document["results"][0]["niqe"] == float(niqe(pixels))


def test_one_metric_fails_and_the_others_of_the_image_stay(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    flat = bad_file(tmp_path, "flat")
    code, document, _ = score(capsys, flat, "--reference", flat, "--metric", "niqe,ssim")
    assert code == 1
    assert document["results"] == [{"image": str(flat), "ssim": 1.0}]
    assert document["failed"][0]["message"].startswith(f"{flat}: niqe: ")


def test_missing_and_mismatched_references(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    (tmp_path / "hr" / "b.png").unlink()
    arguments = [tmp_path / "sr", "--reference", tmp_path / "hr", "--metric", "psnr,niqe"]
    code, document, _ = score(capsys, *arguments)
    assert code == 1
    assert [sorted(row) for row in document["results"]] == [
        ["image", "niqe", "psnr"],
        ["image", "niqe"],
    ]
    (failure,) = document["failed"]
    assert failure["error"] == "INVALID_INPUT"
    assert "no reference named b" in failure["message"]
    small = bad_file(tmp_path, "small")
    code, document, _ = score(
        capsys, tmp_path / "sr" / "a.png", "--reference", small, "--metric", "psnr"
    )
    assert code == 1
    assert "same size" in document["failed"][0]["message"]


def test_an_infinite_psnr_is_null(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    path = tmp_path / "hr" / "a.png"
    code, document, _ = score(capsys, path, "--reference", path, "--metric", "psnr")
    assert code == 0
    assert document == {
        "results": [{"image": str(path), "psnr": None}],
        "mean": {"psnr": None},
        "failed": [],
    }


def test_an_empty_folder_is_a_failure(tmp_path: Path, capsys: Capture) -> None:
    code, document, _ = score(capsys, tmp_path)
    assert code == 1
    assert document["failed"][0]["image"] == str(tmp_path)
    assert document["results"] == []
    assert document["mean"] == {}


def test_two_references_of_one_name(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    write_image(tmp_path / "hr" / "a.bmp", from_tensor(crops["hr/a"][0]))
    arguments = ["score", str(tmp_path / "sr"), "--reference", str(tmp_path / "hr")]
    assert main([*arguments, "--metric", "psnr"]) == 1
    assert "two images of one name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "nique"], "there is no metric 'nique': it is one of niqe, ma, pi, psnr"),
        (["--metric", "psnr"], "--reference is needed"),
        (["--border", "-1"], "-1 is not a whole number of 0 or more"),
        (["--luma", "Y"], "invalid choice"),
        (["--format", "xml"], "invalid choice"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["score", "image.png", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_flag_that_reaches_nothing_is_a_wrong_command_line(
    tmp_path: Path, capsys: Capture
) -> None:
    NiqeModel.published().save(tmp_path / "own.json")
    (tmp_path / "ranker.safetensors").touch()
    for arguments, message in (
        (["--metric", "rmse", "--niqe-model", tmp_path / "own.json"], "is for niqe and pi"),
        (["--metric", tmp_path / "ranker.safetensors", "--border", 4], "--border would not reach"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["score", "image.png", *map(str, arguments)])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err


def test_list(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / ASSETS["alexnet"].file).write_bytes(b"")
    assert main(["list"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "better", "kind", "range", "smallest", "assets"]
    assert [row.split()[0] for row in rows] == list(METRICS)
    table = {row.split()[0]: re.split(r"\s{2,}", row)[1:] for row in rows}
    assert table["niqe"] == ["lower", "no reference", "0 to inf", "96", "none needed"]
    assert table["ssim"] == ["higher", "full reference", "-1 to 1", "11", "none needed"]
    assert table["lpips"] == [
        *("lower", "full reference", "0 to inf", "31", "alexnet, lpips-alex (missing)")
    ]


def test_serve_passes_its_flags_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ImageServerSettings] = []

    def serve(settings: ImageServerSettings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    arguments = ["--workers", "3", "--queue", "0", "--max-pixels", "1000", "--max-message-mib", "8"]
    assert main(["serve", "--listen", "unix:/run/metrics.sock", *arguments]) == 0
    assert seen == [
        ImageServerSettings(
            listen="unix:/run/metrics.sock",
            workers=3,
            queue=0,
            max_pixels=1000,
            max_message_mib=8,
        )
    ]


def test_a_sum_is_scored_with_border_and_luma_of_its_terms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 120, 220, 3), dtype=np.uint8)
    for name, image in zip(("sr", "hr"), pixels, strict=True):
        write_image(tmp_path / f"{name}.png", Picture(image))
    command = ["score", str(tmp_path / "sr.png"), "--reference", str(tmp_path / "hr.png")]
    command += ["--metric", "niqe+0.4*rmse,niqe,rmse", "--border", "4", "--format", "json"]
    assert main(command) == 0
    row = json.loads(capsys.readouterr().out)["results"][0]
    assert row["niqe+0.4*rmse"] == row["niqe"] + 0.4 * row["rmse"]
    for wrong, message in (("niqe+ssin", "no metric 'ssin'"), ("niqe+", "a term is missing")):
        with pytest.raises(SystemExit):
            main(["score", "x.png", "--metric", wrong])
        assert message in capsys.readouterr().err


def test_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("image,niqe,ssim\na.png,3,1\nb.png,4,1\nc.png,9,0\n")
    (tmp_path / "m.csv").write_text("image,by,mos,n\na,A,9,1\nb,A,7,1\nc,B,5,1\n")
    command = [
        "protocol",
        "--predictions",
        str(tmp_path / "p.csv"),
        "--mos",
        str(tmp_path / "m.csv"),
    ]
    assert main([*command, "--column", "niqe", "--mos-column", "mos"]) == 0
    assert "the prediction falls as the MOS rises" in capsys.readouterr().out
    assert (
        main(
            [
                *command,
                "--column",
                "niqe",
                "--mos-column",
                "mos",
                "--algorithm",
                "by",
                "--format",
                "json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["per_algorithm"]["count"] == 2
    assert main(command) == 1
    assert "say which one is meant" in capsys.readouterr().err


def test_options_in_a_name_go_before_the_flags(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    code, document, _ = score(
        capsys, tmp_path / "sr" / "a.png", "--reference", tmp_path / "hr", "--border", 4,
        "--metric", "psnr,psnr?luma=rgb,psnr?border=8",
    )  # fmt: skip
    assert code == 0
    image, original = crops["sr/a"], crops["hr/a"]
    assert document["mean"] == {
        "psnr": float(psnr(image, original, 4)),
        "psnr?luma=rgb": float(psnr(image, original, 4, "rgb")),
        "psnr?border=8": float(psnr(image, original, 8)),
    }


def test_compare(tmp_path: Path, crops: dict[str, Tensor], capsys: Capture) -> None:
    command = ["compare", str(tmp_path / "sr"), str(tmp_path / "hr"), "--reference"]
    command += [str(tmp_path / "hr"), "--metric", "psnr,niqe,ssim"]
    assert main(command) == 0
    head, sr, hr = capsys.readouterr().out.splitlines()
    assert head.split() == ["method", "psnr", "↑", "niqe", "↓", "ssim", "↑"]
    expected = [
        sum(float(metric(crops[f"sr/{name}"], crops[f"hr/{name}"])) for name in "ab") / 2
        for metric in (psnr, ssim)
    ]
    assert sr.split()[1::2] == [f"{value:.4f}" for value in expected]
    assert hr.split()[1] == "inf*"
    assert hr.split()[3] == "1.0000*"
    assert main([*command, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["best"] == {"psnr": "hr", "niqe": "hr", "ssim": "hr"}
    assert [method["images"] for method in document["methods"]] == [2, 2]
    assert document["methods"][1]["mean"]["psnr"] is None  # infinite
    assert main([*command, "--format", "csv"]) == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines[0] == ["method", "images", "failed", "psnr", "niqe", "ssim"]
    assert float(lines[1][3]) == pytest.approx(expected[0])


def test_the_best_of_a_metric_is_not_of_those_that_lack_it(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    sr, hr = tmp_path / "sr", tmp_path / "hr"
    flat = torch.full((3, 200, 200), 9, dtype=torch.uint8)
    for folder in (sr, hr):
        write_image(folder / "flat.png", from_tensor(flat))
    write_image(sr / "a.png", from_tensor(torch.zeros_like(crops["sr/a"][0])))
    command = ["compare", str(sr), str(hr), "--reference", str(hr), "--metric", "niqe,rmse"]
    assert main([*command, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["best"] == {"niqe": None, "rmse": "hr"}


def test_two_images_of_one_name_are_not_compared(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    sr, hr = tmp_path / "sr", tmp_path / "hr"
    (sr / "a.bmp").write_bytes((sr / "a.png").read_bytes())
    assert main(["compare", str(sr), str(hr)]) == 1
    assert "sr holds a.bmp and a.png" in capsys.readouterr().err


def test_compare_wants_the_same_images_and_tells_failures(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    sr, hr = tmp_path / "sr", tmp_path / "hr"
    (sr / "b.png").write_bytes(b"no picture")
    assert main(["compare", str(sr), str(hr), "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [len(method["failed"]) for method in document["methods"]] == [1, 0]
    assert document["best"] == {"niqe": "hr"}  # a mean of fewer images does not win
    (sr / "b.png").unlink()
    assert main(["compare", str(sr), str(hr)]) == 1
    assert "sr has no image named b, which another folder has" in capsys.readouterr().err
    assert main(["compare", str(hr), str(hr)]) == 1
    assert "given twice" in capsys.readouterr().err


def test_features(tmp_path: Path, crops: dict[str, Tensor], capsys: Capture) -> None:
    image = tmp_path / "sr" / "a.png"
    expected = niqe_features(crops["sr/a"], 4)[0]
    assert main(["features", str(image), "--border", "4"]) == 0
    head, *lines = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["image", "array", "row", *map(str, range(36))]
    assert [line[:3] for line in lines] == [[str(image), "niqe", str(i)] for i in range(2)]
    found = torch.tensor([[float(cell) for cell in line[3:]] for line in lines])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    missing = str(tmp_path / "missing.png")
    assert main(["features", missing, str(image), "--border", "4", "--format", "json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {str(image): {"niqe": expected.tolist()}}
    assert captured.err == f"failed: {missing}: No such file or directory\n"
    assert main(["features", str(image), "--metric", "psnr"]) == 1
    assert "psnr has no features to show" in capsys.readouterr().err


def test_a_grey_original_of_an_image_in_colour(tmp_path: Path, capsys: Capture) -> None:
    grey = torch.randint(0, 256, (1, 1, 40, 50), dtype=torch.uint8)
    colour = (grey.expand(-1, 3, -1, -1).int() + 3).clamp(0, 255).byte()
    write_image(tmp_path / "hr" / "a.png", from_tensor(grey[0]))
    write_image(tmp_path / "sr" / "a.png", from_tensor(colour[0]))
    code, document, errors = score(
        capsys, tmp_path / "sr", "--reference", tmp_path / "hr", "--metric", "psnr,ssim"
    )
    assert (code, errors) == (0, "")
    assert document["mean"]["psnr"] == float(psnr(colour, grey.expand(-1, 3, -1, -1)))


def test_a_service_scores_as_this_process_does(
    tmp_path: Path, crops: dict[str, Tensor], capsys: Capture
) -> None:
    server = start_server(
        "127.0.0.1:0", [ScoringServicer(MetricCatalog(), max_pixels=2**24)], ServerLimits()
    )
    try:
        remote = f"grpc://{server.address}/niqe?border=4"
        code, document, _ = score(
            capsys, tmp_path / "sr", "--border", 4, "--reference", tmp_path / "hr",
            "--metric", f"niqe,{remote},({remote})+rmse,rmse",
        )  # fmt: skip
    finally:
        server.stop()
    assert code == 0
    for row in document["results"]:
        assert row[remote] == row["niqe"]
        assert row[f"({remote})+rmse"] == row["niqe"] + row["rmse"]
