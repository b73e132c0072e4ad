from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ranksrgan.contracts.assets import (
    ASSETS,
    Asset,
    asset_folders,
    find_asset,
    get_asset,
    present,
    verify_asset,
)
from ranksrgan.contracts.errors import InvalidCheckpoint, MissingAsset, UnknownName


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    named, cache = tmp_path / "named", tmp_path / "cache"
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(named))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    named.mkdir()
    (cache / "ranksrgan").mkdir(parents=True)
    return named, cache / "ranksrgan"


def test_the_named_folder_goes_before_the_cache(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, cache = places
    assert asset_folders() == [named, cache]
    (cache / "vgg19-dcbb9e9d.pth").write_bytes(b"cached")
    assert find_asset("vgg19") == cache / "vgg19-dcbb9e9d.pth"
    (named / "vgg19-dcbb9e9d.pth").write_bytes(b"named")
    assert find_asset("vgg19") == named / "vgg19-dcbb9e9d.pth"
    monkeypatch.delenv("RANKSRGAN_ASSETS")
    assert asset_folders() == [cache]
    assert find_asset("vgg19") == cache / "vgg19-dcbb9e9d.pth"


def test_who_has_no_home_has_no_cache(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert asset_folders() == list(places)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert asset_folders() == [places[0]]
    monkeypatch.delenv("RANKSRGAN_ASSETS")
    assert asset_folders() == []
    with pytest.raises(MissingAsset, match="name its folder in RANKSRGAN_ASSETS"):
        find_asset("vgg19")


def test_a_missing_one_names_file_source_and_command() -> None:
    for asset in ASSETS.values():
        assert present(asset) is None
        with pytest.raises(MissingAsset) as caught:
            find_asset(asset.name)
        for part in (asset.file, asset.url, f"ranksrgan assets pull {asset.name}"):
            assert part in str(caught.value)
        assert caught.value.field == asset.file
    with pytest.raises(UnknownName, match=r"no asset 'vgg'.*vgg19"):
        get_asset("vgg")


def test_the_list_is_in_order() -> None:
    assert all(name == asset.name for name, asset in ASSETS.items())
    assert len({asset.file for asset in ASSETS.values()}) == len(ASSETS)
    assert all(asset.url.startswith("https://") and asset.licence for asset in ASSETS.values())


def test_a_file_is_checked_against_what_its_publisher_tells(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"hello\n")
    whole = hashlib.sha256(b"hello\n").hexdigest()
    asset = Asset("a", "weights", "https://example.org/weights", "a test", "MIT")
    assert verify_asset(asset, path) is False  # nothing to check against
    assert verify_asset(replace(asset, sha256=whole), path) is True
    assert verify_asset(replace(asset, sha256=whole[:8]), path) is True
    # What 'git hash-object' prints for this content.
    blob = replace(asset, git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    assert verify_asset(blob, path) is True
    path.write_bytes(b"hellO\n")
    for wrong in (replace(asset, sha256=whole[:8]), blob):
        with pytest.raises(InvalidCheckpoint, match="not the published weights"):
            verify_asset(wrong, path)
