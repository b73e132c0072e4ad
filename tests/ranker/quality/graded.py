"""Small images distorted by degrees: what quality models learn from in seconds."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter, zoom
from torch import Tensor

from ranksrgan.contracts.pairs import RankedContent

SIDE = 64
KINDS = ("blur", "noise", "dct", "shrunk")


def graded(count: int, seed: int, side: int = SIDE) -> list[RankedContent]:
    """``count`` references, each with four distortions of three severities; the score of a version
    is its severity and a little of the content: lower is better."""
    random = np.random.default_rng(seed)
    contents = []
    for number in range(count):
        reference = _reference(random, side)
        levels, images, scores = [], [], []
        for kind in KINDS:
            for severity in (1, 2, 3):
                levels.append(f"{kind}_{severity}")
                images.append(_distorted(reference, kind, severity, random))
                scores.append(severity + random.normal(0, 0.1))
        contents.append(
            RankedContent(
                f"reference{number}",
                tuple(levels),
                torch.stack([_tensor(image) for image in images]),
                torch.tensor(scores, dtype=torch.float64),
                reference=_tensor(reference),
            )
        )
    return contents


def _reference(random: np.random.Generator, side: int) -> np.ndarray:
    """A gradient, a checkerboard and 1/f noise, in colours of its own."""
    y, x = np.mgrid[0:side, 0:side] / side
    angle = random.uniform(0, np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    size = int(random.integers(4, 13))
    board = ((np.arange(side)[:, None] // size + np.arange(side) // size) % 2).astype(float)
    spectrum = np.fft.fft2(random.normal(size=(side, side)))
    fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    texture = np.real(np.fft.ifft2(spectrum / np.maximum(np.hypot(fy, fx), 1 / side)))
    texture /= texture.std()
    plane = 0.2 * ramp + 0.15 * board + 0.12 * texture
    colours = random.uniform(0.6, 1.4, 3)[:, None, None]
    return np.clip(0.35 + (plane - plane.mean()) * colours, 0, 1)


def _distorted(
    image: np.ndarray, kind: str, severity: int, random: np.random.Generator
) -> np.ndarray:
    if kind == "blur":
        return gaussian_filter(image, (0, *[(0.6, 1.1, 2.0)[severity - 1]] * 2))
    if kind == "noise":
        return np.clip(
            image + random.normal(0, (0.03, 0.07, 0.15)[severity - 1], image.shape), 0, 1
        )
    if kind == "shrunk":
        share = (0.5, 0.25, 0.125)[severity - 1]
        small = zoom(image, (1, share, share), order=1)
        return np.clip(zoom(small, (1, 1 / share, 1 / share), order=1), 0, 1)
    blocks = image.reshape(3, image.shape[1] // 8, 8, image.shape[2] // 8, 8)
    step = (0.1, 0.25, 0.6)[severity - 1]
    found = dctn(blocks, axes=(2, 4), norm="ortho")
    return np.clip(
        idctn(np.round(found / step) * step, axes=(2, 4), norm="ortho").reshape(image.shape), 0, 1
    )


def _tensor(image: np.ndarray) -> Tensor:
    """As it would be read from a file of 8 bits."""
    return torch.from_numpy(np.round(image * 255)).float() / 255
