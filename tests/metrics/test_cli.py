from __future__ import annotations

import csv
import io
import json
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

from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.metrics import niqe, psnr, rmse, ssim
from ranksrgan.metrics.cli import main

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
        (["--metric", "nique"], "there is no metric 'nique': choose from niqe, psnr, ssim, rmse"),
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


def test_list(capsys: Capture) -> None:
    assert main(["list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["niqe", "lower", "none", "96"],
        ["psnr", "higher", "needed", "1"],
        ["ssim", "higher", "needed", "11"],
        ["rmse", "lower", "needed", "1"],
    ]


def test_serve_passes_its_flags_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("ranksrgan.metrics.server")
    seen: dict[str, object] = {}

    def serve(listen: str, **limits: int) -> int:
        seen.update(listen=listen, **limits)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    arguments = ["--workers", "3", "--queue", "0", "--max-pixels", "1000", "--max-message-mib", "8"]
    assert main(["serve", "--listen", "unix:/run/metrics.sock", *arguments]) == 0
    assert seen == {
        "listen": "unix:/run/metrics.sock",
        "workers": 3,
        "queue": 0,
        "max_pixels": 1000,
        "max_message_bytes": 8 * 2**20,
    }
