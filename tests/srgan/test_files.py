from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import UpscalerInfo, cancellation
from ranksrgan.contracts.errors import InvalidInput, RequestCancelled
from ranksrgan.contracts.images import Picture, encode_image, read_image, write_image
from ranksrgan.metrics import Bicubic
from ranksrgan.srgan.batch import Entry, Storage, upscale_files
from ranksrgan.srgan.files import Job, Unplanned, plan_files

MakePng = Callable[..., bytes]


class Broken:
    """Fails in a way that nobody foresaw, on images of one width."""

    info = UpscalerInfo("broken", "1", 2, "none")

    def upscale(self, images: Tensor) -> Tensor:
        if images.shape[3] == 13:
            raise RuntimeError("not enough memory: you tried to allocate 1 TB")
        return Bicubic(2).upscale(images)


class Repeat:
    """Costs next to nothing."""

    info = UpscalerInfo("repeat", "1", 4, "none")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture
def photos(tmp_path: Path, png: MakePng) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png", "Überblick 1.png")):
        (folder / name).write_bytes(png(8 + i, 6, seed=i))
    (folder / "notes.txt").write_text("not an image, and not asked for")
    return folder


def names(folder: Path) -> list[str]:
    """Everything in there, hidden and temporary files included."""
    return sorted(path.name for path in folder.iterdir())


def test_a_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "deeper"
    report = upscale_files([photos], out, Bicubic(2))
    assert names(out) == ["a.png", "b.png", "Überblick 1.png"]
    first = report.entries[0]
    assert (first.input, first.output) == (str(photos / "a.png"), str(out / "a.png"))
    assert (first.input_size, first.output_size) == ((8, 6), (16, 12))
    assert first.input_bytes == (photos / "a.png").stat().st_size
    assert first.output_bytes == (out / "a.png").stat().st_size
    assert first.seconds is not None
    assert report.to_json()["done"] == 3
    assert not report.failed
    for name in names(out):
        small, large = read_image(photos / name), read_image(out / name)
        planes = torch.from_numpy(small.colour.transpose(2, 0, 1)[None].copy()).float() / 255
        expected = Bicubic(2).upscale(planes)[0].mul(255).round().byte().permute(1, 2, 0)
        assert np.array_equal(large.colour, expected.numpy())


def test_a_single_file_to_a_name_or_a_folder(photos: Path, tmp_path: Path) -> None:
    upscale_files([photos / "a.png"], tmp_path / "big.webp", Bicubic(2))
    upscale_files([photos / "a.png"], tmp_path / "folder", Bicubic(2), suffix="_x2", format="tif")
    assert read_image(tmp_path / "big.webp").width == 16
    assert names(tmp_path / "folder") == ["a_x2.tif"]


def test_one_failure_leaves_the_others_and_no_half_file(
    photos: Path, tmp_path: Path, png: MakePng
) -> None:
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.png").write_text("this is no picture")
    (photos / "cut.png").write_bytes(png(64, 64)[:2000])
    out = tmp_path / "out"
    report = upscale_files([photos, tmp_path / "absent.png"], out, Bicubic(2))
    assert names(out) == ["a.png", "b.png", "Überblick 1.png"]
    failures = {Path(entry.input).name: entry for entry in report.failed}
    assert set(failures) == {"empty.png", "text.png", "cut.png", "absent.png"}
    for name, entry in failures.items():
        assert entry.output is None
        assert entry.error == "INVALID_IMAGE"
        assert entry.message is not None
        assert name in entry.message
    assert json.loads(json.dumps(report.to_json()))["failed"] == 4


def test_even_an_unforeseen_error_is_one_entry(
    photos: Path, tmp_path: Path, png: MakePng, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "aa.png").write_bytes(png(13, 4))
    report = upscale_files([photos], tmp_path / "out", Broken())
    assert [entry.error for entry in report.entries] == [None, "INTERNAL", None, None]
    assert "1 TB" in str(report.failed[0].message)
    assert names(tmp_path / "out") == ["a.png", "b.png", "Überblick 1.png"]
    assert "1 TB" in caplog.text  # with its traceback


def test_an_unwritable_place_is_reported_for_each_file(photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder would have to be")
    report = upscale_files([photos], blocked / "out", Bicubic(2))
    assert len(report.failed) == 3
    assert "cannot be written" in str(report.failed[0].message)
    assert blocked.read_text().startswith("a file")


@pytest.mark.parametrize(
    ("first", "second", "format"),
    [("x/a.png", "y/a.png", "keep"), ("x/a.png", "x/a.jpg", "png"), ("x/a.png", "x/b.png", "keep")],
)
def test_collisions_are_found_before_the_work(
    tmp_path: Path, png: MakePng, first: str, second: str, format: str
) -> None:
    for name in (first, second):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    inputs = [tmp_path / first, tmp_path / second]
    if Path(first).stem != Path(second).stem:
        assert len(plan_files(inputs, tmp_path / "out").jobs) == 2
        return
    with pytest.raises(InvalidInput, match=r"would both become .*a\.png"):
        upscale_files(inputs, tmp_path / "out", Bicubic(2), format=format)
    assert not (tmp_path / "out").exists()


def test_the_same_file_named_twice_is_done_once(photos: Path, tmp_path: Path) -> None:
    given = [photos / "a.png", photos, photos / ".." / "photos" / "b.png"]
    jobs = plan_files(given, tmp_path / "out").jobs
    assert sorted(job.output.name for job in jobs) == ["a.png", "b.png", "Überblick 1.png"]


def test_no_input_is_ever_replaced(photos: Path, tmp_path: Path) -> None:
    before = (photos / "a.png").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(photos, target_is_directory=True)
    for inputs, output in (
        ([photos], photos),
        ([photos], link),
        ([photos / "a.png"], photos / "a.png"),
        ([link / "a.png"], photos / "a.png"),
    ):
        with pytest.raises(InvalidInput, match="is an input and would be replaced"):
            upscale_files(inputs, output, Bicubic(2))
    assert (photos / "a.png").read_bytes() == before
    upscale_files([photos], photos, Bicubic(2), suffix="_x2")
    assert "a_x2.png" in names(photos)
    assert (photos / "a.png").read_bytes() == before


def test_skipping_what_is_there(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"from an earlier run")
    report = upscale_files([photos], out, Bicubic(2), storage=Storage(skip_existing=True))
    assert (out / "a.png").read_bytes() == b"from an earlier run"
    assert report.entries[0] == Entry(str(photos / "a.png"), str(out / "a.png"), skipped=True)
    assert report.to_json()["skipped"] == 1
    assert report.to_json()["done"] == 2
    upscale_files([photos], out, Bicubic(2))
    assert read_image(out / "a.png").width == 16


def test_a_failure_keeps_the_earlier_result(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"from an earlier run")
    (photos / "a.png").write_bytes(b"")
    upscale_files([photos], out, Bicubic(2))
    assert (out / "a.png").read_bytes() == b"from an earlier run"


def test_sixteen_bits_and_transparency_where_the_format_holds_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = Picture(rng.integers(0, 65536, (5, 5, 3), dtype=np.uint16))
    clear = Picture(
        rng.integers(0, 256, (5, 5, 3), dtype=np.uint8),
        rng.integers(0, 256, (5, 5), dtype=np.uint8),
    )
    opaque = Picture(clear.colour, np.full((5, 5), 255, np.uint8))
    for name, picture in (("deep", deep), ("clear", clear), ("opaque", opaque)):
        write_image(tmp_path / "in" / f"{name}.png", picture)
    inputs = [tmp_path / "in"]
    assert not upscale_files(inputs, tmp_path / "png", Bicubic(2)).failed
    assert read_image(tmp_path / "png" / "deep.png").depth == 65535
    assert read_image(tmp_path / "png" / "clear.png").alpha is not None
    opaque_alpha = read_image(tmp_path / "png" / "opaque.png").alpha
    assert opaque_alpha is not None
    assert (opaque_alpha == 255).all()
    # JPEG: 8 bits, a fully opaque alpha is dropped, a transparent picture is not flattened.
    report = upscale_files(inputs, tmp_path / "jpg", Bicubic(2), format="jpg")
    assert names(tmp_path / "jpg") == ["deep.jpg", "opaque.jpg"]
    assert len(report.failed) == 1
    assert "cannot hold transparency" in str(report.failed[0].message)
    assert not upscale_files(inputs, tmp_path / "webp", Bicubic(2), format="webp").failed


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    write_image(tmp_path / "wide.png", Picture(np.zeros((1, 9000, 3), np.uint8)))
    report = upscale_files([tmp_path / "wide.png"], tmp_path / "wide.webp", Bicubic(2))
    assert report.failed[0].error == "INVALID_INPUT"
    assert not (tmp_path / "wide.webp").exists()


def test_quality_counts(photos: Path, tmp_path: Path) -> None:
    for quality in (20, 95):
        upscale_files(
            [photos / "a.png"],
            tmp_path / f"{quality}.jpg",
            Bicubic(4),
            storage=Storage(quality=quality),
        )
    assert (tmp_path / "20.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size


def test_inputs_that_cannot_be_planned_are_entries(photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    gif = tmp_path / "moving.gif"
    gif.write_bytes(b"GIF89a")
    plan = plan_files([empty, gif, photos / "a.png"], tmp_path / "out")
    assert plan.jobs == [Job(photos / "a.png", tmp_path / "out" / "a.png")]
    assert [failure.input for failure in plan.failed] == [empty, gif]
    assert "holds no image" in str(plan.failed[0].message)
    assert "cannot keep the format of .gif" in str(plan.failed[1].message)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out", {"format": "gif"}, "no format 'gif'"),
        ("out", {"suffix": "/../x"}, "part of a file's name"),
        ("out.png", {"suffix": "_x2"}, "leave out suffix and format"),
        ("photos/notes.txt", {}, "is a file; give a folder"),
    ],
)
def test_contradictions_are_refused(
    photos: Path, tmp_path: Path, output: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan_files([photos / "a.png"], tmp_path / output, **options)


def test_cancellation_ends_the_batch(photos: Path, tmp_path: Path) -> None:
    with cancellation.scope(lambda: False), pytest.raises(RequestCancelled):
        upscale_files([photos], tmp_path / "out", Bicubic(2))


def test_memory_is_flat_over_a_batch(tmp_path: Path) -> None:
    """Twelve results of 1.9 MB each, or 7.7 MB as tensors, would show if anything held them."""
    (tmp_path / "in").mkdir()
    content = encode_image(Picture(np.zeros((200, 200, 3), np.uint8)), suffix=".bmp")
    for i in range(12):
        (tmp_path / "in" / f"{i:03}.bmp").write_bytes(content)
    out = tmp_path / "out"
    upscale_files([tmp_path / "in" / "000.bmp"], out, Repeat())
    before = _resident()
    report = upscale_files([tmp_path / "in"], out, Repeat(), format="png")
    assert len(report.entries) == 12
    assert _resident() - before < 20e6


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
