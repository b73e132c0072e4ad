from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import UpscalerInfo, cancellation
from ranksrgan.contracts.errors import RequestCancelled
from ranksrgan.contracts.image_files.encoders.png import PngWriter
from ranksrgan.contracts.images import Metadata, Picture, read_image, write_image
from ranksrgan.metrics import Bicubic, imresize
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling import batch
from ranksrgan.srgan.upscaling.batch import IN_FLIGHT, Entry, Storage, run_jobs, upscale_files
from ranksrgan.srgan.upscaling.files import Job
from ranksrgan.srgan.upscaling.picture import upscale_picture
from ranksrgan.srgan.upscaling.strip_upscaler import ReadRows
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler
from tests.srgan.conftest import MakeGenerator

MakePng = Callable[..., bytes]


class Broken:
    """Fails in a way that nobody foresaw, on images of one width."""

    info = UpscalerInfo("broken", "1", 2, "none")

    def upscale(self, images: Tensor) -> Tensor:
        if images.shape[3] == 13:
            raise RuntimeError("not enough memory: you tried to allocate 1 TB")
        return Bicubic(2).upscale(images)


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


def test_what_stands_in_the_way_of_a_result_fails_by_itself(photos: Path, tmp_path: Path) -> None:
    """Neither ends the run, nor counts as a result that was there before."""
    out = tmp_path / "out"
    (out / "a.png").mkdir(parents=True)
    jobs = [
        Job(photos / "a.png", out / "a.png"),
        Job(photos / "b.png", out / f"{'n' * 300}.png"),
        Job(photos / "Überblick 1.png", out / "c.png"),
    ]
    for skip_existing in (False, True):
        first, second, third = run_jobs(jobs, Bicubic(2), Storage(skip_existing=skip_existing))
        assert first.message == f"{photos / 'a.png'}: {out / 'a.png'} is a folder"
        assert second.message is not None
        assert second.message.endswith(".png cannot be written: File name too long")
        assert [first.error, second.error] == ["INVALID_INPUT"] * 2
        assert (third.error, third.skipped) == (None, skip_existing)


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


def test_cancellation_ends_the_batch(photos: Path, tmp_path: Path) -> None:
    with cancellation.scope(lambda: False), pytest.raises(RequestCancelled):
        upscale_files([photos], tmp_path / "out", Bicubic(2))


# Beside the network


class Strips:
    """Repeats pixels, a row of the input at a time, and does as it is told in between."""

    info = UpscalerInfo("strips", "1", 4, "none")

    def __init__(self, before: Callable[[int], None] = lambda row: None) -> None:
        self.before = before
        self.threads: set[int] = set()

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3)

    def upscale_strips(self, read_rows: ReadRows, height: int, width: int) -> Iterator[Tensor]:
        self.threads.add(threading.get_ident())
        for row in range(height):
            self.before(row)
            yield self.upscale(read_rows(row, row + 1))


@pytest.fixture
def many(tmp_path: Path, png: MakePng) -> list[Job]:
    (tmp_path / "in").mkdir()
    jobs = []
    for i in range(12):
        path = tmp_path / "in" / f"{i:02}.png"
        path.write_bytes(png(9 + i % 3, 40, seed=i))
        jobs.append(Job(path, tmp_path / "out" / path.name))
    return jobs


def test_strips_give_the_same_files_as_wholes(many: list[Job], tmp_path: Path) -> None:
    assert not upscale_files([tmp_path / "in"], tmp_path / "out", Strips()).failed
    for job in many:
        small = read_image(job.input).colour
        assert np.array_equal(read_image(job.output).colour, small.repeat(4, 0).repeat(4, 1))


def test_what_a_kill_has_left_is_removed(many: list[Job]) -> None:
    folder = many[0].output.parent
    folder.mkdir()
    (folder / f".{many[3].output.stem}-0123abcd.png").write_bytes(b"half")
    (folder / ".another-0123abcd.png").write_bytes(b"of no result of this run")
    assert not [entry for entry in run_jobs(many, Strips(), Storage()) if entry.error]
    assert names(folder) == [".another-0123abcd.png", *(job.output.name for job in many)]


def test_an_input_may_go_when_it_was_read(many: list[Job]) -> None:
    job, size = many[0], many[0].input.stat().st_size
    network = Strips(lambda row: job.input.unlink(missing_ok=True))
    (entry,) = run_jobs([job], network, Storage())
    assert not job.input.exists()
    assert (entry.error, entry.input_bytes) == (None, size)
    assert entry.output_bytes == job.output.stat().st_size


def test_entries_come_in_order_whoever_is_slow(
    many: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first picture is decoded after the second; every third one later than it could be."""
    decoded = threading.Event()
    original = batch.decode_image

    def decode(data: bytes, *, name: str, max_pixels: int) -> Picture:
        number = int(Path(name).stem)
        if number == 0:
            assert decoded.wait(60)
        elif number % 3 == 0:
            threading.Event().wait(0.02)
        picture = original(data, name=name, max_pixels=max_pixels)
        if number == 1:
            decoded.set()
        return picture

    monkeypatch.setattr(batch, "decode_image", decode)
    network = Strips()
    entries = list(run_jobs(many, network, Storage()))
    assert [entry.input for entry in entries] == [str(job.input) for job in many]
    assert not [entry for entry in entries if entry.error]
    assert network.threads == {threading.get_ident()}


def test_a_picture_is_encoded_while_the_network_works_on_the_next(many: list[Job]) -> None:
    """The network waits, in the second picture, for the first one's file; only others write it."""

    def before(row: int) -> None:
        started.append(row)
        if len(started) == 50:
            for _ in range(6000):
                if many[0].output.exists():
                    return
                waiting.wait(0.01)
            raise AssertionError("nobody wrote the first picture")

    started: list[int] = []
    waiting = threading.Event()
    assert not [entry for entry in run_jobs(many, Strips(before), Storage()) if entry.error]


def test_few_pictures_are_held_at_a_time(many: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    alive = most = 0
    original = batch.decode_image

    def decode(data: bytes, *, name: str, max_pixels: int) -> Picture:
        nonlocal alive, most
        picture = original(data, name=name, max_pixels=max_pixels)
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(picture, gone)
        return picture

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    lock = threading.RLock()

    monkeypatch.setattr(batch, "decode_image", decode)
    assert len(list(run_jobs(many, Strips(), Storage()))) == 12
    assert 1 < most <= IN_FLIGHT + 1  # what was just done may not be collected yet


def test_progress_is_one_for_each_picture_that_was_not_skipped(
    many: list[Job], png: MakePng
) -> None:
    many[1].input.write_bytes(b"")
    many[2].input.write_bytes(png(60, 60)[:3000])
    many[3].output.parent.mkdir()
    many[3].output.write_bytes(b"from an earlier run")

    def before(row: int) -> None:
        if row == 20:
            raise RuntimeError("in the middle")

    for network, failed in ((Strips(), 2), (Strips(before), 11)):
        shares: list[float] = []
        entries = list(run_jobs(many, network, Storage(skip_existing=True), shares.append))
        assert sum(entry.error is not None for entry in entries) == failed
        assert sum(shares) == pytest.approx(len(many) - sum(entry.skipped for entry in entries))
        assert len(shares) >= 11
        for job in many:
            if job is not many[3]:
                job.output.unlink(missing_ok=True)


def test_a_network_that_fails_in_the_middle_leaves_nothing(many: list[Job]) -> None:
    def before(row: int) -> None:
        if row == 20:
            raise RuntimeError("no memory")

    entries = list(run_jobs(many[:2], Strips(before), Storage()))
    assert [entry.error for entry in entries] == ["INTERNAL", "INTERNAL"]
    assert names(many[0].output.parent) == []


def test_a_full_disk_stops_the_picture_and_not_the_batch(
    many: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder is gone after its first strip; the network must not wait for it for ever."""
    original = batch.open_writer

    class Full:
        def write(self, strip: Picture) -> None:
            raise OSError(28, "No space left on device")

    def open_writer(file: object, layout: object, **options: object) -> object:
        if getattr(layout, "width", 0) == 4 * 10:
            return Full()
        return original(file, layout, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "open_writer", open_writer)
    monkeypatch.setattr("ranksrgan.srgan.upscaling.picture._PIXELS", 1)
    entries = list(run_jobs(many, Strips(), Storage()))
    failed = [entry for entry in entries if entry.error]
    assert len(failed) == 4
    assert {entry.error for entry in failed} == {"DISK_FULL"}
    for entry in failed:
        assert str(entry.message).count("cannot be written: No space left") == 1
    assert len(names(many[0].output.parent)) == 8


def test_stopping_keeps_what_is_whole(many: list[Job]) -> None:
    wanted = True

    def before(row: int) -> None:
        nonlocal wanted
        rows.append(row)
        if len(rows) == 5 * 40 + 7:  # within the sixth picture
            wanted = False
        cancellation.check()

    rows: list[int] = []
    entries = []
    with cancellation.scope(lambda: wanted), pytest.raises(RequestCancelled):  # noqa: PT012
        for entry in run_jobs(many, Strips(before), Storage()):
            entries.append(entry)
    assert [entry.error for entry in entries] == [None] * 5
    assert names(many[0].output.parent) == [job.output.name for job in many[:5]]
    again = list(run_jobs(many, Strips(), Storage(skip_existing=True)))
    assert [entry.skipped for entry in again] == [True] * 5 + [False] * 7


def test_who_asks_for_no_more_entries_ends_the_work(many: list[Job]) -> None:
    entries = run_jobs(many, Strips(), Storage())
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    assert all(name.startswith(("0", "1")) for name in names(many[0].output.parent))
    assert len(names(many[0].output.parent)) <= IN_FLIGHT + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


# What a result keeps


def test_the_scale_of_the_result(tmp_path: Path, png: MakePng) -> None:
    (tmp_path / "a.png").write_bytes(png(31, 23))
    storage = Storage(out_scale=Fraction("2.5"))
    report = upscale_files([tmp_path / "a.png"], tmp_path / "b.png", Strips(), storage=storage)
    assert report.entries[0].output_size == (78, 58)
    small = torch.from_numpy(read_image(tmp_path / "a.png").colour.transpose(2, 0, 1) / 255.0)
    large = small.repeat_interleave(4, 1).repeat_interleave(4, 2)
    expected = imresize(large, 0.625).clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    found = read_image(tmp_path / "b.png").colour
    assert np.abs(found - expected).max() <= 0.501


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_a_photograph_keeps_its_profile_and_what_its_camera_said(
    tmp_path: Path, shared_data: Path, suffix: str
) -> None:
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271], exif[274] = "a camera", 6
    exif.get_ifd(34665)[40962], exif.get_ifd(34665)[40963] = 41, 30
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    photograph = read_image(sorted((shared_data / "images" / "bsds500_test").iterdir())[0])
    crop = photograph.colour[:30, :41]
    plain = tmp_path / f"plain{suffix}"
    write_image(plain, Picture(crop, metadata=Metadata(block, profile)))
    assert read_image(plain).colour.shape == (41, 30, 3)  # it is turned to stand upright
    report = upscale_files([plain], tmp_path / f"large{suffix}", Bicubic(2))
    assert report.entries[0].output_size == (60, 82)
    found = read_image(tmp_path / f"large{suffix}")
    assert found.metadata.icc_profile == profile
    assert found.metadata.exif is not None
    with Image.open(tmp_path / f"large{suffix}") as image:
        said = image.getexif()
        assert (said[271], said[274]) == ("a camera", 1)
        assert (said.get_ifd(34665)[40962], said.get_ifd(34665)[40963]) == (60, 82)
    if suffix != ".tif":  # nothing else was touched
        places = [
            i for i, (a, b) in enumerate(zip(block, found.metadata.exif, strict=True)) if a != b
        ]
        assert len(places) <= 5


def test_deep_grey_with_alpha_and_metadata(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 65536, (9, 7, 1), dtype=np.uint16)
    alpha = rng.integers(0, 65536, (9, 7), dtype=np.uint16)
    write_image(tmp_path / "a.png", Picture(grey, alpha, Metadata(icc_profile=b"a profile" * 20)))
    assert not upscale_files([tmp_path / "a.png"], tmp_path / "b.png", Strips()).failed
    large = read_image(tmp_path / "b.png")
    assert large.colour.shape == (36, 28, 1)
    assert large.depth == 65535
    assert np.array_equal(
        large.colour[alpha.repeat(4, 0).repeat(4, 1) > 0],
        grey.repeat(4, 0).repeat(4, 1)[alpha.repeat(4, 0).repeat(4, 1) > 0],
    )
    assert large.alpha is not None
    assert large.metadata.icc_profile == b"a profile" * 20


# Memory


class Counted(GeneratorUpscaler):
    """Counts the strips that are alive, as tensors of arrays: of these one hears when they go.

    ``patient`` makes none before all others are gone.
    """

    alive = most = made = 0

    def __init__(self, network: SRResNet, *, patient: bool) -> None:
        super().__init__(network, memory=MEMORY)
        self._patient = patient

    def _strip(self, *given: Any) -> Tensor:
        for _ in range(1000):
            if not (self._patient and self.alive):
                break
            threading.Event().wait(0.005)
        array = super()._strip(*given).numpy().copy()
        weakref.finalize(array, self._gone)
        self.alive += 1
        self.made += 1
        self.most = max(self.most, self.alive)
        return torch.from_numpy(array)

    def _gone(self) -> None:
        self.alive -= 1


MEMORY = 2**18


@pytest.mark.parametrize(
    ("kind", "out_scale"), [("rgb", None), ("rgb", Fraction(5, 2)), ("grey", None), ("rgba", None)]
)
@pytest.mark.parametrize("patient", [False, True])
def test_a_strip_is_made_while_another_is_encoded(
    lively: MakeGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    out_scale: Fraction | None,
    patient: bool,
) -> None:
    """There is no third, and not even the other one when it is encoded."""
    encode = PngWriter.write

    def slowly(writer: PngWriter, strip: Picture) -> None:
        threading.Event().wait(0.0 if patient else 0.002)
        encode(writer, strip)

    monkeypatch.setattr(PngWriter, "write", slowly)
    monkeypatch.setattr("ranksrgan.srgan.upscaling.picture._PIXELS", 2**9)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 40, 4), dtype=np.uint8)
    colour = pixels[..., :1] if kind == "grey" else pixels[..., :3]
    picture = Picture(colour, pixels[..., 3] if kind == "rgba" else None)
    job = Job(tmp_path / "in.png", tmp_path / "out.png")
    write_image(job.input, picture)
    counted = Counted(lively(), patient=patient)
    (entry,) = run_jobs([job], counted, Storage(out_scale=out_scale))
    assert entry.error is None
    assert counted.made > 5
    assert (counted.most, counted.alive) == (1 if patient else 2, 0)
    alone = GeneratorUpscaler(lively(), memory=MEMORY)
    expected = upscale_picture(picture, alone, out_scale=out_scale)
    assert np.array_equal(read_image(job.output).colour, expected.colour)


PEAK = """
import sys
from pathlib import Path
from ranksrgan.contracts import UpscalerInfo
from ranksrgan.srgan.upscaling.batch import Storage, run_jobs
from ranksrgan.srgan.upscaling.files import Job

class Strips:
    info = UpscalerInfo("strips", "1", 4, "none")

    def upscale(self, images):
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3)

    def upscale_strips(self, read_rows, height, width):
        for top in range(0, height, 8):
            yield self.upscale(read_rows(top, min(top + 8, height)))

(entry,) = run_jobs([Job(Path(sys.argv[1]), Path(sys.argv[2]))], Strips(), Storage())
if entry.error:
    sys.exit(entry.message)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("suffix", [".png", pytest.param(".jpg", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_result(tmp_path: Path, suffix: str) -> None:
    """Results of 1 and 16 megapixels: the larger one has 192 MB as a tensor, 48 MB as integers.

    What grows is the input, 3 MB, and the strips with the width.
    """
    peaks = []
    for side in (256, 1000):
        rows = np.random.default_rng(0).integers(0, 256, (1, side, 3), dtype=np.uint8)
        write_image(tmp_path / f"{side}.png", Picture(rows.repeat(side, 0)))
        arguments = [str(tmp_path / f"{side}.png"), str(tmp_path / f"out{side}{suffix}")]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True
        )
        peaks.append(1024 * int(done.stdout))
    assert peaks[1] - peaks[0] < 40e6
