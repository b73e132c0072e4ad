"""The command, with everything people feed it."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import signal
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ranksrgan.contracts import UpscalerInfo, cancellation, console
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.contracts.rpc import ServerLimits, start_server
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_order import StreamLimits
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.srgan import cli_upscale
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling.files import FORMATS
from ranksrgan.srgan.upscaling.opening import open_generator
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.refine import Refined
from ranksrgan.srgan.upscaling.rows import RowsEnlargement

Upscale = Callable[..., int]
MakePng = Callable[..., bytes]


@pytest.fixture
def upscale() -> Upscale:
    """``ranksrgan-srgan upscale ...`` as the package's command mounts it."""

    def run(*arguments: str | Path) -> int:
        parser = argparse.ArgumentParser()
        cli_upscale.add_parser(parser.add_subparsers())
        args = parser.parse_args(["upscale", *map(str, arguments)])
        return console.run(lambda: cli_upscale.run(args))

    return run


@pytest.fixture
def photo(tmp_path: Path, png: MakePng) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(png(20, 15))
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def test_the_result_is_what_the_library_makes(
    upscale: Upscale, photo: Path, weights_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "big.png"
    assert upscale(photo, "-o", out, "--model", weights_file) == 0
    expected = upscale_picture(read_image(photo), open_generator(str(weights_file), {}))
    assert np.array_equal(read_image(out).colour, expected.colour)


def test_tiles_and_memory_do_not_show(
    upscale: Upscale, photo: Path, weights_file: Path, tmp_path: Path
) -> None:
    for name, options in (("whole", []), ("tiled", ["--tile", "5"]), ("both", ["--memory", "1"])):
        out = tmp_path / f"{name}.png"
        assert upscale(photo, "-o", out, "--model", weights_file, *options) == 0
    whole = read_image(tmp_path / "whole.png").colour.astype(int)
    for name in ("tiled", "both"):
        assert np.abs(read_image(tmp_path / f"{name}.png").colour - whole).max() <= 1


def test_a_service_gives_the_same_bytes(
    upscale: Upscale, photo: Path, weights_file: Path, tmp_path: Path
) -> None:
    catalog = UpscalerCatalog({"small": open_generator(str(weights_file), {})})
    server = start_server("127.0.0.1:0", [SuperResolutionServicer(catalog, upscale_picture)])
    try:
        spec = f"grpc://{server.address}/small"
        assert upscale(photo, "-o", tmp_path / "remote.png", "--model", spec) == 0
        assert upscale(photo, "-o", tmp_path / "x.png", "--model", f"{spec}er") == 1
    finally:
        server.stop()
    assert upscale(photo, "-o", tmp_path / "local.png", "--model", weights_file) == 0
    assert (tmp_path / "remote.png").read_bytes() == (tmp_path / "local.png").read_bytes()
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("scale", [None, "2.5"])
def test_an_image_past_the_limits_of_a_message_goes_through_a_stream(
    upscale: Upscale, photo: Path, weights_file: Path, tmp_path: Path, scale: str | None
) -> None:
    catalog = UpscalerCatalog({"small": open_generator(str(weights_file), {})})
    options = ["--format", "jpg", "--quality", "80", "--report", tmp_path / "report.json"]
    options += ["--out-scale", scale] if scale else []
    streams = UpscaleStreams(enlargement_for, RowsEnlargement)
    servicer = SuperResolutionServicer(catalog, upscale_picture, max_pixels=100, streams=streams)
    server = start_server("127.0.0.1:0", [servicer], ServerLimits(max_message_bytes=2000))
    try:
        spec = f"grpc://{server.address}/small"
        assert upscale(photo, "-o", tmp_path / "remote", "--model", spec, *options) == 0
        report = json.loads((tmp_path / "report.json").read_text())
        flags = ["--model", spec, "--back-projection", "1"]
        assert upscale(photo, "-o", tmp_path / "refined", *flags) == 1  # no file can do that
    finally:
        server.stop()
    assert upscale(photo, "-o", tmp_path / "local", "--model", weights_file, *options) == 0
    local, remote = tmp_path / "local" / "photo.jpg", tmp_path / "remote" / "photo.jpg"
    assert remote.read_bytes() == local.read_bytes()
    (entry,) = report["files"]
    assert entry["error"] is None
    picture = read_image(remote)
    assert entry["output_size"] == [picture.width, picture.height]
    assert entry["output_bytes"] == remote.stat().st_size


def test_a_stream_that_is_refused_too(
    upscale: Upscale, photo: Path, weights_file: Path, tmp_path: Path
) -> None:
    catalog = UpscalerCatalog({"small": open_generator(str(weights_file), {})})
    streams = UpscaleStreams(enlargement_for, RowsEnlargement, StreamLimits(max_pixels=100))
    servicer = SuperResolutionServicer(catalog, upscale_picture, max_pixels=100, streams=streams)
    server = start_server("127.0.0.1:0", [servicer])
    try:
        flags = ["--model", f"grpc://{server.address}/small", "--report", tmp_path / "r.json"]
        assert upscale(photo, "-o", tmp_path / "x.png", *flags) == 1
    finally:
        server.stop()
    assert json.loads((tmp_path / "r.json").read_text())["files"][0]["error"] == "IMAGE_TOO_LARGE"
    assert not (tmp_path / "x.png").exists()


def test_a_service_that_is_gone(
    upscale: Upscale, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"unix://{tmp_path}/no.sock/small"
    assert upscale(photo, "-o", tmp_path / "x.png", "--model", spec) == 1
    assert "does not answer" in capsys.readouterr().err


def test_every_bad_file_is_named_and_the_good_ones_are_done(
    upscale: Upscale, tmp_path: Path, png: MakePng, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(9, 7))
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "truncated.png").write_bytes(png(60, 60)[:3000])
    (folder / "huge.png").write_bytes(png_header(40_000, 40_000))
    (folder / "absurd.png").write_bytes(png_header(2**31 - 1, 2**31 - 1))
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(folder / "print.jpg")
    Image.new("RGB", (8, 8), (10, 200, 30)).convert("P").save(folder / "palette.png")
    os.mkfifo(folder / "pipe.png")  # nobody ever writes into it
    report = tmp_path / "report.json"
    code = upscale(folder, "-o", tmp_path / "out", "--model", "bicubic", "--report", report)
    assert code == 1
    done = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert done == ["good.png", "palette.png"]
    content = json.loads(report.read_text())
    assert {key: content[key] for key in ("model", "done", "skipped", "failed")} == {
        "model": "bicubic",
        "done": 2,
        "skipped": 0,
        "failed": 7,
    }
    errors = {Path(entry["input"]).name: entry["error"] for entry in content["files"]}
    assert errors == {
        "good.png": None,
        "palette.png": None,
        "zero.png": "INVALID_IMAGE",
        "text.png": "INVALID_IMAGE",
        "truncated.png": "INVALID_IMAGE",
        "print.jpg": "INVALID_IMAGE",
        "pipe.png": "INVALID_IMAGE",
        "huge.png": "IMAGE_TOO_LARGE",
        "absurd.png": "IMAGE_TOO_LARGE",
    }
    told = capsys.readouterr().err
    for entry in content["files"]:
        assert (entry["output"] is None) == (entry["error"] is not None)
        assert entry["output"] is None or Path(entry["output"]).is_file()
        assert (f"failed: {entry['message']}" in told) == (entry["error"] is not None)


def test_a_gigapixel_header_is_refused_at_once(
    upscale: Upscale, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(40_000, 40_000))
    absent = tmp_path / "absent.png"
    assert upscale(absent, "-o", tmp_path / "out", "--model", "bicubic") == 1  # imports happen
    start = time.perf_counter()
    assert upscale(bomb, "-o", tmp_path / "out", "--model", "bicubic") == 1
    assert time.perf_counter() - start < 1
    assert "bomb.png: its header claims far more than" in capsys.readouterr().err


def test_max_pixels(upscale: Upscale, photo: Path, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "out", "--model", "bicubic", "--max-pixels")
    assert upscale(photo, *options, "299") == 1
    assert not (tmp_path / "out" / "photo.png").exists()
    assert upscale(photo, *options, "300") == 0


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def test_bad_models_are_refused_before_anything_is_written(
    upscale: Upscale, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"w": Evil(marker)}, protocol=2))
    torch.save({"conv_first.weight": Evil(marker)}, tmp_path / "evil2.pth")
    torch.save({"model.0.weight": torch.ones(3, 3, 3, 3)}, tmp_path / "rrdb.pth")
    weights = {"features.0.weight": torch.ones(2, 3, 3, 3)}
    save_weights(
        tmp_path / "vgg.safetensors", weights, kind="ranker", architecture="vgg12", options={}
    )
    save_weights(
        tmp_path / "swinir.safetensors",
        weights,
        kind="generator",
        architecture="swinir",
        options={},
    )
    cut = SRResNet(4, 1).state_dict()
    del cut["HRconv.bias"]
    torch.save(cut, tmp_path / "incomplete.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"\x10" * 64)
    for model, message in {
        "evil.pth": "loading it could run code",
        "evil2.pth": "loading it could run code",
        "rrdb.pth": "is no generator that is known here",
        "vgg.safetensors": "holds a ranker",
        "swinir.safetensors": "holds the architecture swinir; known are srresnet",
        "incomplete.pth": "misses HRconv.bias",
        "noise.safetensors": "is damaged",
        "absent.safetensors": "no such file",
    }.items():
        out = tmp_path / "out"
        assert upscale(photo, "-o", out, "--model", tmp_path / model) == 1
        told = capsys.readouterr().err
        assert message in told, model
        assert str(tmp_path / model) in told
        assert "Traceback" not in told
        assert not out.exists()
    assert not marker.exists()


def test_the_evil_checkpoint_is_evil(tmp_path: Path) -> None:
    """So that the test above means something."""
    pickle.loads(pickle.dumps(Evil(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("lanczos", [], "'lanczos' is neither a file nor one of bicubic, generator"),
        ("bicubic?scal=4", [], "no option scal"),
        ("bicubic", ["--tile", "64"], "--tile: only weights that run here have that choice"),
        ("grpc://localhost:1/x", ["--device", "cuda"], "--device: only weights"),
    ],
)
def test_unknown_models_and_options(
    upscale: Upscale,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    options: Sequence[str],
    message: str,
) -> None:
    assert upscale(photo, "-o", tmp_path / "out", "--model", model, *options) == 1
    assert message in capsys.readouterr().err


def test_options_of_the_spec_and_of_the_command_meet(
    upscale: Upscale,
    photo: Path,
    weights_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = f"{weights_file}?device=cpu"
    assert upscale(photo, "-o", tmp_path / "out", "--model", spec, "--tile", "8") == 0
    assert upscale(photo, "-o", tmp_path / "out", "--model", spec, "--device", "cpu") == 1
    assert "given twice" in capsys.readouterr().err


def test_every_format_can_be_asked_for(upscale: Upscale, photo: Path, tmp_path: Path) -> None:
    for format in FORMATS:
        out = tmp_path / format
        assert upscale(photo, "-o", out, "--model", "bicubic", "--format", format) == 0
        ending = "png" if format == "keep" else format
        assert read_image(out / f"photo.{ending}").width == 80


@pytest.mark.parametrize(
    "options",
    [
        ["--tile", "0"],
        ["--tile", "x"],
        ["--memory", "-1"],
        ["--memory", "2TB"],
        ["--precision", "int8"],
        ["--back-projection", "-1"],
        ["--out-scale", "0"],
        ["--out-scale", "1/3"],
        ["--out-scale", "2.125"],
        ["--format", "gif"],
        ["--quality", "101"],
        ["--max-pixels", "0"],
    ],
)
def test_a_wrong_command_line_ends_with_2(
    upscale: Upscale, photo: Path, tmp_path: Path, options: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        upscale(photo, "-o", tmp_path, "--model", "bicubic", *options)
    assert ended.value.code == 2


def test_format_suffix_quality_and_skipping(
    upscale: Upscale, photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    options = ("-o", out, "--model", "bicubic?scale=2", "--format", "jpg", "--suffix", "_x2")
    assert upscale(photo, *options, "--quality", "30") == 0
    first = (out / "photo_x2.jpg").read_bytes()
    assert first[:2] == b"\xff\xd8"
    caplog.set_level("INFO")
    assert upscale(photo, *options, "--quality", "95", "--skip-existing") == 0
    assert (out / "photo_x2.jpg").read_bytes() == first
    assert "0 enlarged, 1 skipped, 0 failed" in caplog.text


def test_collisions_stop_the_command(
    upscale: Upscale, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "photo.jpg", Picture(np.zeros((4, 4, 3), np.uint8)))
    out = tmp_path / "out"
    inputs = (photo, tmp_path / "photo.jpg")
    assert upscale(*inputs, "-o", out, "--model", "bicubic", "--format", "png") == 1
    assert "would both become" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (
            1,
            "up.gif",
            "up.gif: results are PNG, JPEG, WebP, TIFF or BMP; for a folder of that name",
        ),
        (1, "up.xyz", "up.xyz: results are PNG, JPEG, WebP, TIFF or BMP"),
        (2, "up.png", "up.png: 2 inputs need a folder"),
    ],
)
def test_an_output_that_is_neither_result_nor_folder_is_a_wrong_command_line(
    upscale: Upscale,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    inputs: int,
    output: str,
    message: str,
) -> None:
    given = (photo, photo.parent)[:inputs]
    with pytest.raises(SystemExit) as ended:
        upscale(*given, "-o", tmp_path / output, "--model", "bicubic")
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    assert upscale(*given, "-o", f"{tmp_path / output}/", "--model", "bicubic") == 0
    assert read_image(tmp_path / output / "photo.png").colour.shape == (60, 80, 3)


def test_a_missing_input_is_said_to_be_missing(
    upscale: Upscale, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upscale(tmp_path / "nope", "-o", tmp_path / "up", "--model", "bicubic") == 1
    failed = f"failed: {tmp_path / 'nope'}: No such file or directory\n"
    assert failed in capsys.readouterr().err


@pytest.mark.parametrize(
    ("report", "what"),
    [
        ("in/photo.png", "an input"),
        ("model.safetensors", "an input"),
        ("out/photo.png", "a result of this run"),
        ("out", "the folder of the results"),
    ],
)
def test_a_report_replaces_nothing_that_is_needed(
    upscale: Upscale,
    weights_file: Path,
    tmp_path: Path,
    png: MakePng,
    capsys: pytest.CaptureFixture[str],
    report: str,
    what: str,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.png").write_bytes(png(20, 15))
    (tmp_path / "model.safetensors").write_bytes(weights_file.read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    model = f"{tmp_path / 'model.safetensors'}?device=cpu"
    for given in ("in", "in/photo.png"):
        options = ("-o", tmp_path / "out", "--model", model, "--report", tmp_path / report)
        assert upscale(tmp_path / given, *options) == 1
        said = f"{tmp_path / report} is {what} and would be replaced: name another file"
        assert f"error: {said} with --report\n" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "out").exists()
    for _ in range(2):  # an earlier report is replaced, also beside the inputs
        options = ("-o", tmp_path / "out", "--model", model, "--report", tmp_path / "in/r.json")
        assert upscale(tmp_path / "in", *options) == 0
        assert json.loads((tmp_path / "in/r.json").read_text())["done"] == 1
    (tmp_path / "link.json").symlink_to("in/r.json")  # where a link leads, the report goes
    options = ("-o", tmp_path / "out", "--model", model, "--report", tmp_path / "link.json")
    assert upscale(tmp_path / "in/photo.png", *options) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert "in/photo.png" in (tmp_path / "in/r.json").read_text()


def test_alpha_and_sixteen_bits_come_through(
    upscale: Upscale, weights_file: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    deep = Picture(
        rng.integers(0, 65536, (6, 7, 3), dtype=np.uint16),
        rng.integers(0, 65536, (6, 7), dtype=np.uint16),
    )
    write_image(tmp_path / "deep.png", deep)
    assert upscale(tmp_path / "deep.png", "-o", tmp_path / "o", "--model", weights_file) == 0
    large = read_image(tmp_path / "o" / "deep.png")
    assert (large.height, large.width, large.depth) == (24, 28, 65535)
    assert large.alpha is not None
    assert len(np.unique(large.colour)) > 256


def test_an_upright_picture_from_a_turned_camera(
    upscale: Upscale, tmp_path: Path, png: MakePng
) -> None:
    image = Image.open(io.BytesIO(png(12, 8)))
    exif = image.getexif()
    exif[274] = 6  # turn clockwise to view
    image.save(tmp_path / "turned.png", exif=exif)
    assert upscale(tmp_path / "turned.png", "-o", tmp_path / "o", "--model", "bicubic") == 0
    large = read_image(tmp_path / "o" / "turned.png")
    assert (large.height, large.width) == (48, 32)


def test_folders_refinements_scale_and_report(
    upscale: Upscale, weights_file: Path, tmp_path: Path, png: MakePng
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.png").write_bytes(png(12, 10))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    report = tmp_path / "report.json"
    options = ["--memory", "64MiB", "--precision", "float32", "--self-ensemble"]
    options += ["--back-projection", "2", "--out-scale", "2.5", "--report", str(report)]
    assert upscale(tmp_path / "in", "-o", tmp_path / "o", "--model", weights_file, *options) == 1
    large = read_image(tmp_path / "o" / "deep" / "a.png")
    assert (large.height, large.width) == (25, 30)
    network = Refined(open_generator(str(weights_file), {}), self_ensemble=True, back_projection=2)
    small = read_image(tmp_path / "in" / "deep" / "a.png")
    expected = upscale_picture(small, network, out_scale=Fraction("2.5"))
    assert np.array_equal(large.colour, expected.colour)
    content = json.loads(report.read_text())
    bad, good = content["files"]
    assert not content["stopped"]
    assert content["seconds"] >= good["seconds"] >= 0
    assert (good["input_size"], good["output_size"]) == ([12, 10], [30, 25])
    assert good["output_bytes"] == (tmp_path / "o" / "deep" / "a.png").stat().st_size
    assert bad["error"] == "INVALID_IMAGE"


def test_sigterm_stops_between_tiles_and_the_report_says_so(
    upscale: Upscale,
    tmp_path: Path,
    png: MakePng,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Interrupted:
        info = UpscalerInfo("interrupted", "1", 2, "none")
        calls = 0

        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            type(self).calls += 1
            if type(self).calls == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            cancellation.check()
            return images.repeat_interleave(2, 2).repeat_interleave(2, 3)

    monkeypatch.setattr(cli_upscale, "_open", lambda args: Interrupted())
    (tmp_path / "in").mkdir()
    for name in "abcde":
        (tmp_path / "in" / f"{name}.png").write_bytes(png())
    report, out = tmp_path / "report.json", tmp_path / "out"
    assert upscale(tmp_path / "in", "-o", out, "--model", "x", "--report", report) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    content = json.loads(report.read_text())
    assert (content["stopped"], content["done"], content["failed"]) == (True, 2, 0)
    assert "stopped with 3 to do" in caplog.text
    options = ("--model", "x", "--skip-existing", "--report", report)
    assert upscale(tmp_path / "in", "-o", out, *options) == 0
    content = json.loads(report.read_text())
    assert (content["done"], content["skipped"]) == (3, 2)
