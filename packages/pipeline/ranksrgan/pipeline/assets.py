"""``ranksrgan assets``: getting third-party parameters, and checking those that are there.

Which there are, and where they are looked for, is in `ranksrgan.contracts.assets`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pooch import HTTPDownloader  # type: ignore[import-untyped]
from requests.exceptions import RequestException
from tqdm import tqdm

from ranksrgan.contracts import atomic
from ranksrgan.contracts.assets import (
    VARIABLE,
    Asset,
    asset_folders,
    find_asset,
    get_asset,
    present,
    verify_asset,
)
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, MissingAsset

# Seconds in which a server must say something.
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Found:
    """An asset's file that is here.

    Attributes:
        path: where it lies.
        checked: whether its hash is that on record; False if none is.
        fresh: whether it was downloaded just now.
    """

    path: Path
    checked: bool
    fresh: bool = False

    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def pull(name: str) -> Found:
    """Download an asset into ``$RANKSRGAN_ASSETS``, or the user's cache, unless it is here.

    The file appears under its name when all of it is there and its hash is right; before, and if
    anything goes wrong, there is none. A progress bar is shown on a terminal.

    Raises:
        UnknownName: no asset of that name.
        MissingAsset: it cannot be downloaded; the message names its source and where to put it.
        InvalidCheckpoint: what was sent, or the file that is here, is not the published one.
        InvalidInput: the folder cannot be written to.
    """
    asset = get_asset(name)
    if present(asset) is not None:
        return verify(name)
    if not asset_folders():
        raise InvalidInput(
            f"there is no folder for assets, as there is no home: name one in {VARIABLE}",
            field=VARIABLE,
        )
    path = asset_folders()[0] / asset.file
    try:
        with atomic.replacing(path) as temporary:
            _download(asset, temporary)
            checked = verify_asset(asset, temporary)
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(
            f"{asset.url} sent something else than the published {asset.file}: its hash is wrong. "
            "Nothing was kept",
            field=asset.file,
        ) from error
    except RequestException as error:
        raise MissingAsset(
            f"{asset.url} cannot be downloaded. Where there is no connection, bring {asset.file} "
            f"from elsewhere into {path.parent}. The reason: {error}",
            field=asset.file,
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror or error}", field=str(path)
        ) from error
    return Found(path, checked, fresh=True)


def verify(name: str) -> Found:
    """Check the hash of an asset that is here.

    Raises:
        UnknownName: no asset of that name.
        MissingAsset: it is not here.
        InvalidCheckpoint: the file is not the published one.
    """
    path = find_asset(name)
    return Found(path, verify_asset(get_asset(name), path))


def _download(asset: Asset, path: Path) -> None:
    # Without a total it would be false, and pooch would take it for no bar.
    with tqdm(
        total=1, desc=asset.file, unit="B", unit_scale=True, disable=None, leave=False
    ) as progress:
        download = HTTPDownloader(progressbar=progress, chunk_size=2**20, timeout=_TIMEOUT)
        download(asset.url, path, None)
