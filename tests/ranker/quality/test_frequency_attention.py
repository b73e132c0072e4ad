from __future__ import annotations

import pytest
import torch
from scipy.fft import dctn

from ranksrgan.ranker.quality.frequency_attention import FREQUENCIES, FrequencyAttention


def test_fca_with_the_lowest_frequency_equals_se() -> None:
    torch.manual_seed(0)
    attention = FrequencyAttention(32, frequencies=((0, 0),))
    maps = torch.randn(2, 32, 14, 14)
    # Squeeze and excitation: the mean of a channel. The transform has sqrt(7 x 7) times as much.
    mean = maps.mean((2, 3))
    excited = (
        torch.relu(mean @ attention.reduce.weight.T * 7) @ attention.expand.weight.T
    ).sigmoid()
    assert torch.allclose(attention(maps), maps * excited[:, :, None, None], atol=1e-5)


def test_basis_is_the_orthonormal_cosine_transform() -> None:
    attention = FrequencyAttention(16)
    maps = torch.randn(1, 16, 7, 7, dtype=torch.float64)
    found = (maps * attention.basis).sum((2, 3))[0]
    for channel, (down, across) in enumerate(FREQUENCIES):
        wanted = dctn(maps[0, channel].numpy(), norm="ortho")[down, across]
        assert float(found[channel]) == pytest.approx(wanted, abs=1e-6)


def test_larger_grid_multiplies_the_frequencies() -> None:
    attention = FrequencyAttention(1, frequencies=((1, 0),), grid=14)
    maps = torch.randn(14, 14, dtype=torch.float64)
    wanted = dctn(maps.numpy(), norm="ortho")[2, 0]
    assert float((maps * attention.basis[0]).sum()) == pytest.approx(wanted, abs=1e-6)


def test_channels_that_sixteen_does_not_divide_have_fewer_groups() -> None:
    basis = FrequencyAttention(24).basis  # 8 groups of 3
    assert torch.equal(basis[0], basis[2])
    assert not torch.equal(basis[2], basis[3])
    assert torch.allclose(basis[0], torch.full((7, 7), 1 / 7))
