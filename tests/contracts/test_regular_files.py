"""What waits for ever, or never ends, is refused before it is opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.images import Picture, read_image, stored_size, write_image
from ranksrgan.contracts.regular_files import open_regular


def test_a_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
            assert os.get_inheritable(file.fileno()) is False


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, kind in (("pipe", "pipe"), ("link", "pipe"), ("socket", "socket")):
            with pytest.raises(OSError, match=f"is a {kind} and no file; save"):
                open_regular(tmp_path / name)
    with pytest.raises(OSError, match="is a device and no file"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_pipe_that_takes_the_place_of_the_file_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    file = Path(__file__).stat()
    monkeypatch.setattr(Path, "stat", lambda path: file)
    with pytest.raises(OSError, match="is a pipe"):
        open_regular(tmp_path / "pipe")


def test_images_are_opened_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for read in (read_image, stored_size):
        with pytest.raises(InvalidImage, match=r"pipe\.png: is a pipe and no file") as refused:
            read(tmp_path / "pipe.png")
        assert refused.value.field == str(tmp_path / "pipe.png")
    picture = Picture(np.zeros((2, 3, 3), np.uint8))
    write_image(tmp_path / "a.png", picture)
    (tmp_path / "b.png").symlink_to("a.png")
    assert (read_image(tmp_path / "b.png").colour == picture.colour).all()
