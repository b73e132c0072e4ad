"""Reducing by blur kernels that were estimated from photographs, as KernelGAN writes them.

    LR = (HR correlated with k), every scale-th pixel                       (before noise)

Ji et al., "Real-World Super-Resolution via Kernel Estimation and Noise Injection", CVPR Workshops
2020, equation 1. A kernel's centre of mass is laid on the middle of the LR pixel, so that LR and HR
show the same at the same place: KernelGAN (Bell-Kligler et al. 2019) writes its kernels so; others
are moved, by less than an HR pixel between two pixels linearly.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput

Weights = npt.NDArray[np.float64]

SUFFIXES = (".npy", ".mat")

# What KernelGAN calls it in its files.
_MAT_NAME = "Kernel"


class BlurKernel:
    """A kernel for one scale.

    Args:
        weights: ``(m, n)``, the right way up for a correlation; divided by their sum here.
        scale: by which it reduces.

    Attributes:
        halo: LR pixels around a crop that its LR depends on.
    """

    def __init__(self, weights: Weights, scale: int) -> None:
        weights = weights / weights.sum()
        self._scale = scale
        self._before: list[int] = []
        for axis in (0, 1):
            places = np.arange(weights.shape[axis])
            centre = float((weights.sum(axis=1 - axis) * places).sum())
            # Where the first weight falls, counted from the LR pixel's first HR pixel.
            first = (scale - 1) / 2 - centre
            whole = min(math.floor(first + 1e-6), 0)
            weights = _moved(weights, axis, max(first - whole, 0.0))
            self._before.append(-whole)
        self._weights = weights
        reach = [
            max(before, length - before - scale)
            for before, length in zip(self._before, weights.shape, strict=True)
        ]
        self.halo = math.ceil(max(*reach, 0) / scale)

    def reduce(self, hr: Tensor) -> Tensor:
        """``(3, scale * h, scale * w)`` uint8 to ``(3, h, w)``; beyond its border it repeats its
        edge."""
        (top, left), (rows, columns) = self._before, self._weights.shape
        padding = (
            left,
            max(0, columns - left - self._scale),
            top,
            max(0, rows - top - self._scale),
        )
        planes = F.pad(hr[:, None].double(), padding, mode="replicate")
        kernel = torch.from_numpy(self._weights)[None, None]
        reduced = F.conv2d(planes, kernel, stride=self._scale)[:, 0]
        height, width = (side // self._scale for side in hr.shape[1:])
        return reduced[:, :height, :width].clamp(0, 255).round().byte()


def load_kernels(folder: Path, scale: int) -> tuple[list[BlurKernel], str]:
    """The kernels of a folder by name, and sha256 in hex of them.

    Args:
        folder: of ``.npy`` files, each a matrix, and ``.mat`` files with a matrix ``Kernel``.
        scale: by which they reduce.

    Raises:
        InvalidInput: no such folder, or no kernel in it.
        InvalidDataset: a file that is no kernel: no finite matrix whose sum is positive.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field=str(folder))
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        raise InvalidInput(f"{folder} holds no kernel ({', '.join(SUFFIXES)})", field=str(folder))
    found, digest = [], hashlib.sha256()
    for path in paths:
        weights = _read(path)
        digest.update(f"{weights.shape}".encode() + weights.tobytes())
        found.append(BlurKernel(weights, scale))
    return found, digest.hexdigest()


def _moved(weights: Weights, axis: int, by: float) -> Weights:
    """The weights moved towards the end of an axis, by less than a pixel linearly, by more with
    zeros before them."""
    whole = math.floor(by)
    rest = by - whole
    padded = np.insert(weights, [0] * whole, 0.0, axis=axis)
    if rest < 1e-6:  # what is left of a kernel that lies right
        return np.ascontiguousarray(padded)
    length = padded.shape[axis]
    at_start = np.insert(padded, length, 0.0, axis=axis)
    moved: Weights = (1 - rest) * at_start + rest * np.roll(at_start, 1, axis=axis)
    return moved


def _read(path: Path) -> Weights:
    try:
        content = _read_mat(path) if path.suffix == ".mat" else np.load(path, allow_pickle=False)
        weights = np.array(content, np.float64, order="C")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InvalidDataset(f"{path} is no kernel: {error}", field=str(path)) from error
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise InvalidDataset(
            f"{path} is of the shape {weights.shape}; a kernel is a matrix of finite numbers",
            field=str(path),
        )
    if weights.sum() <= 0:
        raise InvalidDataset(
            f"{path} sums to {weights.sum():g}; a kernel that keeps brightness sums to 1",
            field=str(path),
        )
    return weights


def _read_mat(path: Path) -> Any:
    """What a file of MATLAB's calls a kernel; ValueError without."""
    from scipy.io import loadmat  # takes long to import, and few need it

    try:
        content = loadmat(path)
    except Exception as error:  # a damaged file makes scipy raise nearly anything
        raise ValueError(str(error)) from error
    if _MAT_NAME not in content:
        raise ValueError(f"it holds no {_MAT_NAME}")
    return content[_MAT_NAME]
