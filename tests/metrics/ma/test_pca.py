from __future__ import annotations

import numpy as np
import pytest
import torch

from ranksrgan.metrics.ma.pca import singular_values

# Whole blocks, remainders of both sides, more blocks than are taken together
SIZES = [(25, 25), (26, 49), (31, 128), (330, 340)]


def by_numpy(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    blocks = []
    for top in range(0, height, 5):
        for left in range(0, width, 5):
            block = np.zeros((5, 5))
            piece = plane[top : top + 5, left : left + 5]
            block[: piece.shape[0], : piece.shape[1]] = piece
            blocks.append(block.T.ravel())
    return np.linalg.svd(np.stack(blocks, axis=1), compute_uv=False)


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_svd(size: tuple[int, int]) -> None:
    plane = torch.rand(size, dtype=torch.float64)
    np.testing.assert_allclose(singular_values(plane).numpy(), by_numpy(plane.numpy()), rtol=1e-12)


def test_small_values_are_accurate() -> None:
    # A slope with a little noise: the smallest value is a millionth of the largest, where the root
    # of the eigenvalues of the products would have four digits left.
    plane = torch.linspace(0, 1, 300, dtype=torch.float64)[:, None].expand(300, 280)
    plane = plane + 1e-5 * torch.rand(300, 280, dtype=torch.float64)
    values = singular_values(plane)
    assert float(values[-1] / values[0]) < 1e-5
    np.testing.assert_allclose(values.numpy(), by_numpy(plane.numpy()), rtol=1e-9)


def test_flat_and_black_planes() -> None:
    values = singular_values(torch.full((50, 50), 0.25, dtype=torch.float64))
    assert float(values[0]) == pytest.approx(0.25 * 50, rel=1e-14)
    assert float(values[1:].max()) < 1e-13
    black = singular_values(torch.zeros(50, 50, dtype=torch.float64))
    assert torch.equal(black, torch.zeros(25, dtype=torch.float64))


def test_the_plane_stays_as_it_was() -> None:
    plane = torch.rand(30, 30, dtype=torch.float64)
    before = plane.clone()
    singular_values(plane)
    assert torch.equal(plane, before)


def test_the_number_of_threads_does_not_matter() -> None:
    plane = torch.rand(400, 500, dtype=torch.float64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = singular_values(plane)
        torch.set_num_threads(4)
        assert torch.equal(singular_values(plane), alone)
    finally:
        torch.set_num_threads(threads)
