from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.generators.enlargement import enlarge_by, filters
from ranksrgan.srgan.generators.fsrcnn import FSRCNN


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameter_counts_are_the_published_ones(scale: int) -> None:
    network = FSRCNN(scale=scale)
    weights = [p.numel() for name, p in network.named_parameters() if p.ndim == 4]
    assert sum(weights) == 12_464  # FSRCNN(56, 12, 4), the paper's table 1
    assert sum(p.numel() for p in network.parameters()) == 12_809


def luma_by_hand(state: dict[str, Tensor], y: np.ndarray, scale: int, blocks: int) -> np.ndarray:
    """The published network on one plane, with loops."""

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = state[f"{name}.weight"].numpy(), state[f"{name}.bias"].numpy()
        side = weight.shape[2]
        padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
        made = np.empty((weight.shape[0], *x.shape[1:]))
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                window = padded[:, row : row + side, column : column + side]
                made[:, row, column] = (weight * window).sum((1, 2, 3)) + bias
        return made

    def prelu(x: np.ndarray, name: str) -> np.ndarray:
        return np.where(x > 0, x, state[f"{name}.weight"].numpy()[:, None, None] * x)

    x = prelu(conv(y[None], "first_part.0"), "first_part.1")
    for layer in range(blocks + 2):
        x = prelu(conv(x, f"mid_part.{2 * layer}"), f"mid_part.{2 * layer + 1}")
    weight = state["last_part.weight"].numpy()[:, 0]
    height, width = y.shape
    canvas = np.zeros((height * scale + 16, width * scale + 16))
    for row in range(height):
        for column in range(width):
            stamp = np.tensordot(x[:, row, column], weight, 1)
            canvas[row * scale : row * scale + 9, column * scale : column * scale + 9] += stamp
    inner = canvas[4 : 4 + height * scale, 4 : 4 + width * scale]
    return inner + state["last_part.bias"].numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_luma_by_the_network_and_chroma_bicubic(scale: int) -> None:
    torch.manual_seed(0)
    network = FSRCNN(5, 2, scale, bottleneck=3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rgb = torch.rand(1, 3, 6, 5, dtype=torch.float64)
    r, g, b = rgb[0].numpy() * 255
    # ITU-R BT.601 in 8-bit numbers.
    y = 16 + 65.481 / 255 * r + 128.553 / 255 * g + 24.966 / 255 * b
    cb = 128 - 37.797 / 255 * r - 74.203 / 255 * g + 112 / 255 * b
    cr = 128 + 112 / 255 * r - 93.786 / 255 * g - 18.214 / 255 * b
    y = luma_by_hand(network.state_dict(), y / 255, scale, 2) * 255
    chroma = torch.from_numpy(np.stack([cb, cr]))[None]
    cb, cr = enlarge_by(filters("cubic", scale).double(), chroma)[0].numpy()
    red = 255 / 219 * (y - 16) + 255 / 112 * 0.701 * (cr - 128)
    blue = 255 / 219 * (y - 16) + 255 / 112 * 0.886 * (cb - 128)
    found = network(rgb)[0].detach().numpy() * 255
    np.testing.assert_allclose(found[0], red, atol=0.02)
    np.testing.assert_allclose(found[2], blue, atol=0.02)
    luma = 16 + 65.481 / 255 * found[0] + 128.553 / 255 * found[1] + 24.966 / 255 * found[2]
    np.testing.assert_allclose(luma, y, atol=1e-3)


def test_grey_stays_grey() -> None:
    torch.manual_seed(0)
    grey = torch.rand(1, 1, 8, 8).expand(-1, 3, -1, -1)
    made = FSRCNN(scale=3)(grey)
    torch.testing.assert_close(made, made[:, :1].expand(-1, 3, -1, -1), rtol=0, atol=1e-5)


def test_a_foreign_file_needs_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "fsrcnn.pth"
    torch.save(FSRCNN(8, 3, 3, bottleneck=4).state_dict(), path)
    with pytest.raises(InvalidCheckpoint, match=r"fsrcnn\.pth: .*same shapes at every scale"):
        load_generator(path)
    for scale in (2, 3, 4):
        loaded = load_generator(path, scale)
        assert isinstance(loaded, FSRCNN)
        assert loaded.options == {"features": 8, "blocks": 3, "scale": scale, "bottleneck": 4}
    with pytest.raises(InvalidCheckpoint, match="scale is 5"):
        load_generator(path, 5)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="scale is 1"):
        FSRCNN(scale=1)
    with pytest.raises(InvalidInput, match="bottleneck is 0"):
        FSRCNN(bottleneck=0)
