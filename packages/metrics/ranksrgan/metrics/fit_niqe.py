"""Fitting NIQE's model of natural images.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE
Signal Processing Letters 20(3), 2013, sections II-B and II-C, with the details of the published
software: of each image, the blocks whose mean local deviation passes three quarters of the image's
largest; of all of these together, one Gaussian. The published model is that of 125 photographs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.contracts.images import list_images, read_image, to_tensor
from ranksrgan.metrics.luma import Convention, check_images
from ranksrgan.metrics.luma import luma as luma_of
from ranksrgan.metrics.mscn import mscn
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.nss_features import BLOCK, FEATURES, block_count, nss_features
from ranksrgan.metrics.reference.nss_features import cut

#: Share of the sharpness of an image's sharpest block that a block has to pass.
SHARPNESS = 0.75


def fit_niqe(images: Path | Iterable[Path | Tensor], luma: Convention = "gray") -> NiqeModel:
    """The NIQE model of ``images``.

    The same images in the same order give the same bits, whatever the number of threads.

    Args:
        images: a folder, of which every image is taken, by name; or files and images
            ``(3|1, H, W)``, floating point in [0, 1] or uint8. One is in memory at a time.
        luma: ``"gray"``, as for the published model, or ``"y"``.

    Raises:
        InvalidInput: an image is damaged or of a kind that is not read, or all together have too
            few blocks for a covariance.
        ImageTooSmall: an image holds no block of 96 x 96.
    """
    if isinstance(images, str | Path):
        images = list_images(Path(images))
    kept: list[Tensor] = []
    for position, image in enumerate(images):
        cancellation.check()
        if isinstance(image, Tensor):
            kept.append(_sharp_features(image[None], f"images[{position}]", luma))
        else:
            kept.append(_sharp_features(to_tensor(read_image(image)), str(image), luma))

    features = torch.cat([torch.empty(0, FEATURES, dtype=torch.float64), *kept]).numpy()
    whole = features[np.isfinite(features).all(axis=1)]
    if len(whole) <= FEATURES:
        raise InvalidInput(
            f"{len(kept)} images have {len(whole)} sharp blocks of {BLOCK} x {BLOCK} with all "
            f"features; a covariance of {FEATURES} features needs more than {FEATURES}",
            field="images",
        )
    centred = whole - whole.mean(axis=0)
    # Row by row: BLAS would order the sums by the number of threads.
    covariance = sum(np.outer(row, row) for row in centred) / (len(whole) - 1)
    return NiqeModel(
        torch.from_numpy(np.nanmean(features, axis=0)), torch.from_numpy(np.asarray(covariance))
    )


def _sharp_features(image: Tensor, name: str, luma: Convention) -> Tensor:
    """``(P, 36)`` of the sharp blocks of ``(1, 3|1, H, W)``."""
    check_images(image, name)
    height, width = image.shape[2:]
    if block_count(image, border=0) == 0:
        raise ImageTooSmall(
            f"{name}: {height} x {width} pixels hold no block of {BLOCK} x {BLOCK}", field=name
        )
    plane = luma_of(image, luma)[:, : height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    deviations = cut(mscn(plane).deviation[0], BLOCK)
    sharpness = deviations.mean(dim=2).mean(dim=1)
    sharp = sharpness > SHARPNESS * sharpness.max()
    return nss_features(image, luma=luma)[0, sharp].cpu()
