"""Reducing by estimated kernels: what lies where, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.srgan.data.blur_kernels import BlurKernel, load_kernels


def ramp(height: int, width: int) -> torch.Tensor:
    """Linear in rows and columns."""
    rows, columns = np.mgrid[:height, :width]
    planes = [20 + 2 * rows, 20 + 2 * columns, 20 + rows + columns]
    return torch.from_numpy(np.stack(planes).astype(np.uint8))


def gaussian(side: int, centre: float, sigma: float = 2.0) -> np.ndarray:
    line = np.exp(-((np.arange(side) - centre) ** 2) / (2 * sigma**2))
    return np.outer(line, line)


def by_hand(hr: torch.Tensor, weights: np.ndarray, scale: int, first: int) -> np.ndarray:
    """LR pixel (y, x) looks at the HR pixels from ``scale y + first`` on."""
    side = len(weights)
    padded = np.pad(hr.numpy().astype(float), ((0, 0), (side, side), (side, side)), mode="edge")
    height, width = (length // scale for length in hr.shape[1:])
    found = np.empty((3, height, width))
    for y in range(height):
        for x in range(width):
            top, left = scale * y + first + side, scale * x + first + side
            part = padded[:, top : top + side, left : left + side]
            found[:, y, x] = (part * (weights / weights.sum())).sum(axis=(1, 2))
    return np.rint(found.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize(("side", "scale"), [(8, 4), (12, 4), (5, 3), (7, 1), (4, 2)])
def test_a_symmetric_kernel_lies_in_the_middle_of_the_lr_pixel(side: int, scale: int) -> None:
    weights = gaussian(side, (side - 1) / 2)
    hr = torch.randint(0, 256, (3, 6 * scale, 5 * scale), dtype=torch.uint8)
    found = BlurKernel(7 * weights, scale).reduce(hr)
    assert np.array_equal(found.numpy(), by_hand(hr, weights, scale, (scale - side) // 2))


def test_kernels_of_kernelgan_lie_right_already() -> None:
    """Theirs are odd, their centre of mass half a pixel and one beside the middle."""
    weights = gaussian(33, 17.5)
    hr = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    kernel = BlurKernel(weights, 4)
    found = kernel.reduce(hr).int().numpy()
    assert np.abs(found - by_hand(hr, weights, 4, -16).astype(int)).max() <= 1
    assert kernel.halo == 4


@pytest.mark.parametrize("centre", [3.0, 4.0, 4.5, 5.2, 7.9])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_no_kernel_moves_the_image(centre: float, scale: int) -> None:
    """LR pixel y shows what HR pixels scale y to scale y + scale - 1 do, wherever its mass lies."""
    hr = ramp(scale * 20, scale * 20)
    found = BlurKernel(gaussian(12, centre, 1.2), scale).reduce(hr).double()
    middle = torch.nn.functional.avg_pool2d(hr.double(), scale)
    inside = (slice(None), slice(6, -6), slice(6, -6))
    assert (found - middle)[inside].abs().max() <= 0.5 + 1e-6


def test_a_single_weight_between_two_pixels_is_shared() -> None:
    hr = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    found = BlurKernel(np.ones((1, 1)), 4).reduce(hr)
    middle = hr.double().unfold(1, 4, 4).unfold(2, 4, 4)[..., 1:3, 1:3].mean(dim=(3, 4))
    assert torch.equal(found, middle.round().byte())


@pytest.mark.parametrize(("side", "centre"), [(8, 3.5), (33, 17.5), (13, 4.2)])
def test_a_crop_with_its_halo_is_the_crop_of_the_whole(side: int, centre: float) -> None:
    hr = torch.randint(0, 256, (3, 160, 160), dtype=torch.uint8)
    kernel = BlurKernel(gaussian(side, centre), 4)
    whole = kernel.reduce(hr)
    halo = kernel.halo
    top, left, length = 15, 12, 8
    part = hr[
        :,
        4 * (top - halo) : 4 * (top + length + halo),
        4 * (left - halo) : 4 * (left + length + halo),
    ]
    made = kernel.reduce(part)[:, halo : halo + length, halo : halo + length]
    expected = whole[:, top : top + length, left : left + length]
    assert torch.equal(made, expected)


def test_a_folder_of_both_kinds(tmp_path: Path) -> None:
    weights = [gaussian(13, 6), gaussian(9, 4, 1.0)]
    np.save(tmp_path / "b.npy", weights[0].astype(np.float32))
    scipy.io.savemat(tmp_path / "a.mat", {"Kernel": weights[1]})
    (tmp_path / "readme.txt").write_text("kernels of a telephone")
    kernels, digest = load_kernels(tmp_path, 4)
    hr = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    expected = [BlurKernel(w, 4).reduce(hr) for w in (weights[1], weights[0])]
    for kernel, wanted in zip(kernels, expected, strict=True):
        assert (kernel.reduce(hr).int() - wanted.int()).abs().max() <= 1
    np.save(tmp_path / "b.npy", weights[0] * 2 - 1e-3)
    assert load_kernels(tmp_path, 4)[1] != digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((3, 3)), "sums to 0"),
        (-np.ones((3, 3)), "sums to -9"),
        (np.ones((3, 3, 3)), r"shape \(3, 3, 3\); a kernel is a matrix"),
        (np.array([[1.0, np.nan]]), "a kernel is a matrix of finite"),
        (np.array([["a"]]), "is no kernel"),
        (np.array([[{}]], dtype=object), "is no kernel"),
    ],
)
def test_what_is_no_kernel(content: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", content)
    with pytest.raises(InvalidDataset, match=rf"k\.npy.*{said}") as refused:
        load_kernels(tmp_path, 4)
    assert refused.value.field == str(tmp_path / "k.npy")


def test_folders_and_files_without_kernels(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        load_kernels(tmp_path / "nowhere", 4)
    with pytest.raises(InvalidInput, match=r"holds no kernel \(\.npy, \.mat\)"):
        load_kernels(tmp_path, 4)
    (tmp_path / "k.npy").write_bytes(b"\x93NUMPY damaged")
    with pytest.raises(InvalidDataset, match=r"k\.npy is no kernel"):
        load_kernels(tmp_path, 4)
    (tmp_path / "k.npy").unlink()
    scipy.io.savemat(tmp_path / "k.mat", {"other": np.eye(3)})
    with pytest.raises(InvalidDataset, match=r"k\.mat is no kernel: it holds no Kernel"):
        load_kernels(tmp_path, 4)
    (tmp_path / "k.mat").write_bytes(b"no matlab")
    with pytest.raises(InvalidDataset, match=r"k\.mat is no kernel"):
        load_kernels(tmp_path, 4)
