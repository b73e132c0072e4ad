"""Pulling and checking assets, from a server on loopback that sends what a test says."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ranksrgan.contracts.assets import ASSETS, Asset
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, MissingAsset, UnknownName
from ranksrgan.pipeline import assets as assets_module
from ranksrgan.pipeline.assets import pull, verify
from ranksrgan.pipeline.cli import main

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Shelf(BaseHTTPRequestHandler):
    """``/whole`` and ``/moved`` send the content, ``/cut`` half of what it announces."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
        elif self.path in ("/whole", "/cut"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[: len(CONTENT) // 2])
        else:
            self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(Shelf, "asked", [], raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "assets"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asset]:
    """Puts assets of the test's own on the list."""

    def add(url: str, *, name: str = "toy", sha256: str = "", git_blob: str = "") -> Asset:
        asset = Asset(name, f"{name}.bin", url, "a test", "CC0", sha256, git_blob)
        monkeypatch.setitem(ASSETS, name, asset)
        return asset

    return add


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("where", ["whole", "moved"])
@pytest.mark.parametrize("digits", [64, 8])
def test_pull_puts_the_verified_file_there(
    shelf: str, folder: Path, toy: Callable[..., Asset], where: str, digits: int
) -> None:
    asset = toy(f"{shelf}/{where}", sha256=SHA256[:digits])
    found = pull("toy")
    assert (found.path, found.checked, found.fresh) == (folder / "toy.bin", True, True)
    assert found.path.read_bytes() == CONTENT
    assert files(folder) == [asset.file]
    assert found.sha256() == SHA256


def test_pull_without_a_hash_on_record_says_that_nothing_was_checked(
    shelf: str, folder: Path, toy: Callable[..., Asset]
) -> None:
    toy(f"{shelf}/whole")
    assert not pull("toy").checked


def test_pull_leaves_what_is_here(shelf: str, folder: Path, toy: Callable[..., Asset]) -> None:
    toy(f"{shelf}/whole", sha256=SHA256)
    first, second = pull("toy"), pull("toy")
    assert (second.path, second.checked, second.fresh) == (first.path, True, False)
    assert Shelf.asked == ["/whole"]
    first.path.write_bytes(b"damaged")
    with pytest.raises(InvalidCheckpoint, match=r"toy\.bin is not the published toy\.bin"):
        pull("toy")
    assert first.path.read_bytes() == b"damaged"  # a file of the user's is not overwritten


def test_pull_without_any_folder_says_what_to_name(
    folder: Path, toy: Callable[..., Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranksrgan.pipeline.assets.asset_folders", list)
    monkeypatch.setattr("ranksrgan.contracts.assets.asset_folders", list)
    toy("http://127.0.0.1:1/whole")
    with pytest.raises(InvalidInput, match="name one in RANKSRGAN_ASSETS"):
        pull("toy")


def test_pull_goes_to_the_cache_without_a_named_folder(
    shelf: str, folder: Path, toy: Callable[..., Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANKSRGAN_ASSETS")
    toy(f"{shelf}/whole", sha256=SHA256)
    assert pull("toy").path == folder.parent / "cache" / "ranksrgan" / "toy.bin"


@pytest.mark.parametrize("hashes", [{"sha256": "0" * 64}, {"git_blob": "0" * 40}])
def test_a_wrong_hash_leaves_nothing(
    shelf: str, folder: Path, toy: Callable[..., Asset], hashes: dict[str, str]
) -> None:
    toy(f"{shelf}/whole", **hashes)
    with pytest.raises(InvalidCheckpoint, match=f"{shelf}/whole sent something else") as caught:
        pull("toy")
    assert "Nothing was kept" in str(caught.value)
    assert files(folder) == []


def test_half_a_file_leaves_nothing(shelf: str, folder: Path, toy: Callable[..., Asset]) -> None:
    toy(f"{shelf}/cut")  # and there is no hash that would tell
    with pytest.raises(
        MissingAsset, match=r"/cut cannot be downloaded\. .*toy\.bin from elsewhere"
    ):
        pull("toy")
    assert files(folder) == []


def test_what_the_server_does_not_have(shelf: str, folder: Path, toy: Callable[..., Asset]) -> None:
    toy(f"{shelf}/gone")
    with pytest.raises(MissingAsset, match=r"/gone cannot be downloaded\. .* The reason: 404"):
        pull("toy")
    assert files(folder) == []


def test_without_a_connection_source_and_folder_are_named(
    folder: Path, toy: Callable[..., Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    toy("http://127.0.0.1:1/toy")
    with pytest.raises(MissingAsset) as caught:
        pull("toy")
    for part in ("http://127.0.0.1:1/toy", f"bring toy.bin from elsewhere into {folder}"):
        assert part in str(caught.value)
    assert caught.value.field == "toy.bin"
    assert files(folder) == []


def test_an_interruption_leaves_nothing(
    shelf: str, folder: Path, toy: Callable[..., Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(f"{shelf}/whole", sha256=SHA256)
    seen: list[str] = []

    def interrupted(asset: Asset, path: Path) -> bool:
        seen.extend(files(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(assets_module, "verify_asset", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull("toy")
    assert len(seen) == 1
    assert seen[0] != "toy.bin"  # whole, but not yet checked
    assert files(folder) == []


def test_a_folder_that_cannot_be_written(
    shelf: str, folder: Path, toy: Callable[..., Asset]
) -> None:
    folder.write_text("a file")
    toy(f"{shelf}/whole")
    with pytest.raises(InvalidInput, match=r"toy\.bin cannot be written: "):
        pull("toy")


def test_verify(folder: Path, toy: Callable[..., Asset]) -> None:
    toy("http://127.0.0.1:1/toy", sha256=SHA256)
    with pytest.raises(MissingAsset, match="assets pull toy"):
        verify("toy")
    folder.mkdir()
    (folder / "toy.bin").write_bytes(CONTENT)
    assert verify("toy").checked
    (folder / "toy.bin").write_bytes(CONTENT[1:])
    with pytest.raises(InvalidCheckpoint, match="not the published"):
        verify("toy")
    with pytest.raises(UnknownName, match="no asset 'toi'"):
        verify("toi")


def test_list_tells_of_each_asset(
    folder: Path, toy: Callable[..., Asset], capsys: pytest.CaptureFixture[str]
) -> None:
    toy("http://example.org/toy")
    folder.mkdir()
    (folder / "toy.bin").write_bytes(b"")
    assert main(["assets", "list"]) == 0
    printed = capsys.readouterr().out
    for asset in ASSETS.values():
        for part in (asset.name, asset.file, asset.purpose, asset.licence, asset.url):
            assert part in printed
    lines = printed.splitlines()
    width = max(len(name) for name in ASSETS)
    assert f"{'toy':<{width}}  {folder / 'toy.bin'}" in lines
    assert f"{'vgg19':<{width}}  not here" in lines
    assert lines[-1] == f"looked for in {folder}, {folder.parent / 'cache' / 'ranksrgan'}"


def test_the_command_pulls_what_it_can(
    shelf: str, folder: Path, toy: Callable[..., Asset], capsys: pytest.CaptureFixture[str]
) -> None:
    toy(f"{shelf}/gone", name="gone")
    toy(f"{shelf}/whole", name="one", sha256=SHA256)
    toy(f"{shelf}/whole", name="two")
    assert main(["assets", "pull", "gone", "one", "two", "one"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"one: downloaded, {folder / 'one.bin'}, hash verified",
        f"two: downloaded, {folder / 'two.bin'}, no hash on record; sha256 {SHA256}",
    ]
    assert printed.err.startswith(f"error: gone: {shelf}/gone cannot be downloaded")
    assert main(["assets", "pull", "one"]) == 0
    assert capsys.readouterr().out == f"one: here, {folder / 'one.bin'}, hash verified\n"


def test_the_command_downloads_nothing_for_a_misspelt_list(
    shelf: str, folder: Path, toy: Callable[..., Asset], capsys: pytest.CaptureFixture[str]
) -> None:
    toy(f"{shelf}/whole")
    assert main(["assets", "pull", "toy", "toi"]) == 1
    assert "error: there is no asset 'toi': it is one of vgg19" in capsys.readouterr().err
    assert Shelf.asked == []


def test_the_command_verifies_what_is_here(
    folder: Path, toy: Callable[..., Asset], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assets", "verify"]) == 0
    assert "no asset is here" in capsys.readouterr().out
    for name in ("good", "bad", "bare", "absent"):
        toy("http://127.0.0.1:1/", name=name, sha256="" if name == "bare" else SHA256)
    folder.mkdir()
    for name in ("good", "bare"):
        (folder / f"{name}.bin").write_bytes(CONTENT)
    assert main(["assets", "verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"good: here, {folder / 'good.bin'}, hash verified",
        f"bare: here, {folder / 'bare.bin'}, no hash on record; sha256 {SHA256}",
    ]
    (folder / "bad.bin").write_bytes(b"")
    assert main(["assets", "verify"]) == 1
    assert "error: bad: " in capsys.readouterr().err
    assert main(["assets", "verify", "good", "absent"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("good: ")
    assert "error: absent: absent.bin is needed for a test and is missing. On the" in printed.err


def test_the_progress_of_a_download_is_told(
    shelf: str, folder: Path, toy: Callable[..., Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(f"{shelf}/whole")
    told: list[tuple[int, int]] = []

    class Bar(assets_module.tqdm):  # type: ignore[type-arg, misc]
        def __init__(self, **settings: object) -> None:
            super().__init__(**{**settings, "disable": False, "mininterval": 0})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            told.append((int(self.n), int(self.total)))
            return shown

    monkeypatch.setattr(assets_module, "tqdm", Bar)
    pull("toy")
    assert len(told) >= 5
    assert told[-1] == (len(CONTENT), len(CONTENT))
