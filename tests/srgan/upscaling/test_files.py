from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.upscaling.files import Job, Plan, Unplanned, plan_files

MakePng = Callable[..., bytes]


@pytest.fixture
def photos(tmp_path: Path, png: MakePng) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png", "Überblick 1.png")):
        (folder / name).write_bytes(png(8 + i, 6, seed=i))
    (folder / "notes.txt").write_text("not an image, and not asked for")
    return folder


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
        plan_files(inputs, tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()


def test_the_same_file_named_twice_is_done_once(photos: Path, tmp_path: Path) -> None:
    given = [photos / "a.png", photos, photos / ".." / "photos" / "b.png"]
    jobs = plan_files(given, tmp_path / "out").jobs
    assert sorted(job.output.name for job in jobs) == ["a.png", "b.png", "Überblick 1.png"]


def test_links_to_one_image_are_files_of_their_own(photos: Path, tmp_path: Path) -> None:
    """Each name gets its result; the same name by way of a linked folder is one name."""
    (photos / "c.png").symlink_to("a.png")
    (photos / "again").mkdir()
    (photos / "again" / "a.png").symlink_to(photos / "a.png")
    link = tmp_path / "link"
    link.symlink_to(photos, target_is_directory=True)
    plan = plan_files([photos, link, link / "c.png"], tmp_path / "out")
    assert plan.failed == []
    names = ["a.png", "b.png", "c.png", "Überblick 1.png", "again/a.png"]
    assert [str(job.output.relative_to(tmp_path / "out")) for job in plan.jobs] == names
    with pytest.raises(InvalidInput, match="is an input and would be replaced"):
        plan_files([photos / "c.png"], photos / "a.png")  # its content is there


def test_no_input_is_ever_replaced(photos: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(photos, target_is_directory=True)
    for inputs, output in (
        ([photos], photos),
        ([photos], link),
        ([photos / "a.png"], photos / "a.png"),
        ([link / "a.png"], photos / "a.png"),
    ):
        with pytest.raises(InvalidInput, match="is an input and would be replaced"):
            plan_files(inputs, output)
    jobs = plan_files([photos / "a.png"], photos, suffix="_x2").jobs
    assert jobs == [Job(photos / "a.png", photos / "a_x2.png")]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_run_beside_its_inputs_goes_on_where_it_was_stopped(
    tmp_path: Path, png: MakePng, by_name: bool
) -> None:
    tree(tmp_path, png, "a.jpg", "a_x4.png", "b.png", "sub/c.png", "sub/c_x4.png", "d_x4.png")
    given = sorted(tmp_path.glob("*.*")) if by_name else [tmp_path]
    options = {"suffix": "_x4", "format": "png"}
    with pytest.raises(InvalidInput, match=r"a_x4\.png is an input .*skip existing"):
        plan_files(given, tmp_path, **options)  # who knows where it is from
    plan = plan_files(given, tmp_path, **options, skip_existing=True)
    made = {str(job.input.relative_to(tmp_path)): job.output.name for job in plan.jobs}
    expected = {"a.jpg": "a_x4.png", "b.png": "b_x4.png", "d_x4.png": "d_x4_x4.png"}
    if not by_name:
        expected["sub/c.png"] = "c_x4.png"
    assert made == expected
    assert plan.failed == []
    # Without a suffix nothing tells a result from an input.
    with pytest.raises(InvalidInput, match=r"or a suffix, without which existing .* skipped$"):
        plan_files([tmp_path / "b.png"], tmp_path, skip_existing=True)
    with pytest.raises(InvalidInput, match=r"would be replaced: .* or a suffix$"):
        plan_files([tmp_path / "b.png"], tmp_path)


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
        ("photos/README", {}, "is a file; give a folder"),
        ("photos/README/", {}, "is a file; give a folder"),
    ],
)
def test_contradictions_are_refused(
    photos: Path, tmp_path: Path, output: str, options: dict[str, str], message: str
) -> None:
    (photos / "README").write_text("no folder")
    with pytest.raises(InvalidInput, match=message):
        plan_files([photos / "a.png"], f"{tmp_path}/{output}", **options)


_FORMATS_WRITTEN = "results are PNG, JPEG, WebP, TIFF or BMP"


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["a.png"], "up.gif", f"{_FORMATS_WRITTEN}; for a folder of that name write .*/up.gif/$"),
        (["a.png"], "up.GIF", _FORMATS_WRITTEN),
        (["a.png"], "up.xyz", _FORMATS_WRITTEN),
        (["a.png"], "up.jp2", _FORMATS_WRITTEN),
        (["a.png"], "photos/notes.txt", rf"notes\.txt: {_FORMATS_WRITTEN}$"),
        (["a.png", "b.png"], "up.png", "up.png: 2 inputs need a folder; for a folder .*/up.png/$"),
        (["a.png", "b.png"], "up.heic", "2 inputs need a folder"),
        (["a.png", "b.png"], "photos/b.png", "b.png: 2 inputs need a folder$"),
        ([""], "up.png", "up.png: .*photos needs a folder; for a folder of that name"),
    ],
)
def test_no_folder_is_made_of_a_name_that_looks_like_a_file(
    photos: Path, tmp_path: Path, inputs: list[str], output: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        plan_files([photos / name for name in inputs], tmp_path / output)
    assert refused.value.field == "output"


@pytest.mark.parametrize("inputs", [["a.png"], ["a.png", "b.png"]])
@pytest.mark.parametrize(
    "output", ["results.v2", "set.x4", "photos.large", "up.gif/", "up.png/", "there.png", "plain"]
)
def test_names_of_folders_may_have_dots(
    photos: Path, tmp_path: Path, inputs: list[str], output: str
) -> None:
    (tmp_path / "there.png").mkdir()
    plan = plan_files([photos / name for name in inputs], f"{tmp_path}/{output}")
    assert [job.output for job in plan.jobs] == [tmp_path / output / name for name in inputs]
    assert plan.failed == []


def test_a_missing_input_is_missing_whatever_its_ending(photos: Path, tmp_path: Path) -> None:
    nowhere = [tmp_path / name for name in ("nope", "nope.gif", "nope.d", "n" * 300)]
    for output in ("up", "up.png"):
        plan = plan_files([*nowhere, photos / "a.png"], f"{tmp_path}/{output}/")
        assert [job.input for job in plan.jobs] == [photos / "a.png"]
        messages = [f"{path}: No such file or directory" for path in nowhere[:3]]
        messages.append(f"{nowhere[3]}: File name too long")
        assert [failure.message for failure in plan.failed] == messages


def tree(folder: Path, png: MakePng, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png())


def test_folders_at_any_depth_keep_their_structure(tmp_path: Path, png: MakePng) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    tree(
        photos, png, "b.png", "a.jpg", "2025/x.png", "2025/May/x.png", "2024/x.tif", ".cache/y.png"
    )
    tree(photos, png, "2025/.hidden.png")
    (photos / "2025" / "notes.txt").write_text("no image")
    (photos / "empty").mkdir()
    jobs = plan_files([photos], out, suffix="_x4", format="png").jobs
    assert [str(job.input.relative_to(photos)) for job in jobs] == [
        "a.jpg",
        "b.png",
        "2024/x.tif",
        "2025/x.png",
        "2025/May/x.png",
    ]
    assert [str(job.output.relative_to(out)) for job in jobs] == [
        "a_x4.png",
        "b_x4.png",
        "2024/x_x4.png",
        "2025/x_x4.png",
        "2025/May/x_x4.png",
    ]


def test_results_inside_of_the_input_are_not_enlarged_again(tmp_path: Path, png: MakePng) -> None:
    tree(tmp_path, png, "a.png", "sub/b.png", "sub/large/a.png", "sub/large/sub/b.png")
    out = tmp_path / "sub" / ".." / "sub" / "large"
    jobs = plan_files([tmp_path], out).jobs
    assert [job.input.name for job in jobs] == ["a.png", "b.png"]
    assert [job.output for job in jobs] == [out / "a.png", out / "sub" / "b.png"]


def test_links_to_folders_are_not_followed_and_so_end(tmp_path: Path, png: MakePng) -> None:
    tree(tmp_path / "in", png, "a.png", "sub/b.png")
    (tmp_path / "in" / "sub" / "around").symlink_to(tmp_path / "in", target_is_directory=True)
    jobs = plan_files([tmp_path / "in"], tmp_path / "out").jobs
    assert [job.input.name for job in jobs] == ["a.png", "b.png"]


def test_two_folders_with_the_same_names_collide(tmp_path: Path, png: MakePng) -> None:
    tree(tmp_path, png, "x/1/a.png", "y/1/a.png")
    with pytest.raises(InvalidInput, match="would both become"):
        plan_files([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert len(plan_files([tmp_path / "x", tmp_path / "y" / "1"], tmp_path / "out").jobs) == 2


def test_a_folder_that_cannot_be_read_fails_by_itself(
    tmp_path: Path, png: MakePng, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lost+found does, for all but root, at the head of many a file system."""
    tree(tmp_path, png, "in/a.png", "in/lost+found/b.png", "in/sub/c.png", "other/d.png")
    listing = os.scandir

    def refusing(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if path.name == "lost+found":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", refusing)
    locked = tmp_path / "in" / "lost+found"
    plan = plan_files([tmp_path / "in", tmp_path / "other"], tmp_path / "out")
    assert [job.input.name for job in plan.jobs] == ["a.png", "c.png", "d.png"]
    assert plan.failed == [Unplanned(locked, f"{locked}: Permission denied")]
    assert plan_files([locked], tmp_path / "out") == Plan([], plan.failed)


def test_names_that_lead_nowhere_fail_when_their_turn_comes(photos: Path, tmp_path: Path) -> None:
    (photos / "loop.png").symlink_to("loop.png")
    (photos / "loop").symlink_to("loop", target_is_directory=True)
    nowhere = [photos / name for name in ("loop.png", "loop/a.png", f"{'n' * 300}.png")]
    for path in nowhere:
        plan = plan_files([path, photos / "b.png"], tmp_path / "out")
        assert plan.failed == []
        assert [job.input for job in plan.jobs] == [path, photos / "b.png"]
    assert [job.input for job in plan_files([nowhere[0]], nowhere[2]).jobs] == [nowhere[0]]
