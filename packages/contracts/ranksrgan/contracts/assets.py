"""Third-party parameters that the project uses and does not ship: where they are looked for.

`ASSETS` is the whole list. A file is looked for in ``$RANKSRGAN_ASSETS``, then in the user's cache;
``ranksrgan assets pull NAME`` puts it there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts.errors import InvalidCheckpoint, MissingAsset, UnknownName

VARIABLE = "RANKSRGAN_ASSETS"

_TORCHVISION = "https://download.pytorch.org/models"
_LPIPS = (
    "https://github.com/richzhang/PerceptualSimilarity/raw/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1"
)


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        name: what users call it.
        file: its name on disk.
        url: where it comes from.
        purpose: what needs it.
        licence: its terms.
        sha256: of the file in hex, or as much of its beginning as the publisher tells; empty if
            nobody does.
        git_blob: git's hash of the content in hex, where that is what is known.
    """

    name: str
    file: str
    url: str
    purpose: str
    licence: str
    sha256: str = ""
    git_blob: str = ""


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "vgg19",
            "vgg19-dcbb9e9d.pth",
            f"{_TORCHVISION}/vgg19-dcbb9e9d.pth",
            "the perceptual loss of SRGAN and RankSRGAN",
            "BSD-3-Clause; trained on ImageNet",
            sha256="dcbb9e9d",
        ),
        Asset(
            "vgg19_distilled",
            "vgg19_distilled16x_relu5_1.pth",
            "https://github.com/MingSun-Tse/Collaborative-Distillation/raw/"
            "4a269dc90020721ef9b279b2926c62f5bcd6d209/trained_models/wct_se_16x_new/"
            "20191109-211322_E20.pth",
            "the perceptual loss without VGG19's half a gigabyte",
            "MIT",
            sha256="9417c34d0d8d621bc6af78be745f1b8d30f5f210efa01e50655c60eb3770816b",
        ),
        Asset(
            "vgg16",
            "vgg16-397923af.pth",
            f"{_TORCHVISION}/vgg16-397923af.pth",
            "LPIPS with net=vgg, DISTS",
            "BSD-3-Clause; trained on ImageNet",
            sha256="397923af",
        ),
        Asset(
            "alexnet",
            "alexnet-owt-7be5be79.pth",
            f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
            "LPIPS with net=alex",
            "BSD-3-Clause; trained on ImageNet",
            sha256="7be5be79",
        ),
        Asset(
            "squeezenet",
            "squeezenet1_1-b8a52dc0.pth",
            f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth",
            "LPIPS with net=squeeze",
            "BSD-3-Clause; trained on ImageNet",
            sha256="b8a52dc0",
        ),
        Asset(
            "lpips-alex",
            "lpips_lin_v0.1_alex.pth",
            f"{_LPIPS}/alex.pth",
            "LPIPS with net=alex",
            "BSD-2-Clause",
            sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        ),
        Asset(
            "lpips-squeeze",
            "lpips_lin_v0.1_squeeze.pth",
            f"{_LPIPS}/squeeze.pth",
            "LPIPS with net=squeeze",
            "BSD-2-Clause",
            sha256="4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        ),
        Asset(
            "lpips-vgg",
            "lpips_lin_v0.1_vgg.pth",
            f"{_LPIPS}/vgg.pth",
            "LPIPS with net=vgg",
            "BSD-2-Clause",
        ),
        Asset(
            "dists",
            "dists_weights.pt",
            "https://github.com/dingkeyan93/DISTS/raw/master/DISTS_pytorch/weights.pt",
            "DISTS",
            "MIT",
        ),
        Asset(
            "pieapp",
            "PieAPPv0.1.pth",
            "https://github.com/photosynthesis-team/piq/releases/download/v0.5.4/PieAPPv0.1.pth",
            "PieAPP",
            "terms of its authors, see github.com/prashnani/PerceptualImageError",
            sha256="0937b01480c7a637ae3018af755faa8ecde4788b52bb246b7ae62cf96fb6baf0",
        ),
        Asset(
            "ma",
            "ma_model.mat",
            "https://github.com/chaoma99/sr-metric/raw/master/model.mat",
            "Ma and PI",
            "MIT",
            git_blob="a852aefb6a49e52703044fee4fa60c3f5b8d5adc",
        ),
    )
}


def asset_folders() -> list[Path]:
    """Where assets are looked for, in order; the last is the user's cache, if they have a home."""
    named = os.environ.get(VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME") or _cache_at_home()
    return [*([Path(named)] if named else []), *([Path(cache) / "ranksrgan"] if cache else [])]


def get_asset(name: str) -> Asset:
    """The asset of that name.

    Raises:
        UnknownName: there is none; lists those there are.
    """
    if name not in ASSETS:
        raise UnknownName(
            f"there is no asset {name!r}: it is one of {', '.join(ASSETS)}", field=name
        )
    return ASSETS[name]


def present(asset: Asset) -> Path | None:
    """Where the file lies; None if it does not."""
    places = (folder / asset.file for folder in asset_folders())
    return next((place for place in places if place.is_file()), None)


def find_asset(name: str) -> Path:
    """The path of an asset's file.

    Raises:
        UnknownName: no asset of that name.
        MissingAsset: the file is not there; names the file, its source and the command.
    """
    asset = get_asset(name)
    place = present(asset)
    if place is None:
        raise MissingAsset(
            f"{asset.file} is needed for {asset.purpose} and is missing. On the machine that is to "
            f"have it: 'ranksrgan assets pull {name}', or download {asset.url} and name its folder "
            f"in {VARIABLE}",
            field=asset.file,
            looked_in=" or ".join(str(folder) for folder in asset_folders()),
        )
    return place


def verify_asset(asset: Asset, path: Path) -> bool:
    """Check a file against the hash that its publisher tells.

    Returns:
        False if no hash is known, so that nothing could be checked.

    Raises:
        InvalidCheckpoint: another content.
    """
    if asset.sha256:
        wanted, found = asset.sha256, _digest(path, hashlib.sha256(), asset.sha256)
    elif asset.git_blob:
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        wanted, found = asset.git_blob, _digest(path, blob, asset.git_blob)
    else:
        return False
    if found != wanted:
        raise InvalidCheckpoint(
            f"{path} is not the published {asset.file}: its hash begins with {found[:16]}, "
            f"{wanted[:16]} is right",
            field=str(path),
        )
    return True


def _cache_at_home() -> Path | None:
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a user of a container whom nobody has given a home
        return None


def _digest(path: Path, running: hashlib._Hash, wanted: str) -> str:
    with path.open("rb") as file:
        while piece := file.read(2**20):
            running.update(piece)
    return running.hexdigest()[: len(wanted)]
