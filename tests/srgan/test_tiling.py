from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput, RequestCancelled
from ranksrgan.srgan.srresnet import SRResNet
from ranksrgan.srgan.tiling import Box, bytes_per_pixel, plan, tile_for_memory, upscale_tiled

sides = st.integers(1, 60)


@given(height=sides, width=sides, tile=st.integers(1, 70), overlap=st.integers(0, 12))
def test_tiles_partition_the_image_and_carry_their_halo(
    height: int, width: int, tile: int, overlap: int
) -> None:
    tiles = plan(height, width, tile, overlap)
    covered = np.zeros((height, width), int)
    for read, keep in tiles:
        covered[keep.top : keep.bottom, keep.left : keep.right] += 1
        assert 0 < keep.bottom - keep.top <= tile
        assert 0 < keep.right - keep.left <= tile
        # The halo is whole, or ends exactly where the image does.
        assert read.top == max(keep.top - overlap, 0)
        assert read.left == max(keep.left - overlap, 0)
        assert read.bottom == min(keep.bottom + overlap, height)
        assert read.right == min(keep.right + overlap, width)
    assert (covered == 1).all()
    for low, high in (("top", "bottom"), ("left", "right")):
        lengths = {getattr(t.keep, high) - getattr(t.keep, low) for t in tiles}
        assert max(lengths) - min(lengths) <= 1  # even
    assert len(tiles) == -(-height // tile) * -(-width // tile)  # and no more than needed


def test_plan_by_hand() -> None:
    tiles = plan(5, 3, tile=4, overlap=1)
    assert [t.keep for t in tiles] == [Box(0, 0, 2, 3), Box(2, 0, 5, 3)]
    assert [t.read for t in tiles] == [Box(0, 0, 3, 3), Box(1, 0, 5, 3)]


@pytest.mark.parametrize("bad", [(0, 3, 4, 1), (3, 0, 4, 1), (3, 3, 0, 1), (3, 3, 4, -1)])
def test_impossible_plans_are_refused(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidInput, match="cannot be cut"):
        plan(*bad)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    tile=st.integers(1, 40),
    scale=st.sampled_from([2, 3, 4]),
    blocks=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_tiled_equals_whole(
    lively: Callable[..., SRResNet],
    height: int,
    width: int,
    tile: int,
    scale: int,
    blocks: int,
    seed: int,
) -> None:
    network = lively(3, blocks, scale, seed).double()
    image = torch.rand(
        (1, 3, height, width),
        generator=torch.Generator().manual_seed(seed + 1),
        dtype=torch.float64,
    )
    with torch.no_grad():
        whole = network(image)
        tiled = upscale_tiled(
            network, image, scale=scale, overlap=network.receptive_field, tile=tile
        )
    assert whole.std() > 1e-3  # there is something to compare
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (37, 41), (1, 1)])
def test_tiled_equals_whole_in_float32(
    lively: Callable[..., SRResNet], shape: tuple[int, int]
) -> None:
    network = lively(16, 4)
    image = torch.rand(2, 3, *shape)
    with torch.no_grad():
        whole = network(image)
        tiled = upscale_tiled(network, image, scale=4, overlap=network.receptive_field, tile=11)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_receptive_field_is_tight(lively: Callable[..., SRResNet], scale: int) -> None:
    """One pixel less shows: so the tests above can fail, and no work is wasted on a wide halo."""
    network = lively(8, 1, scale).double()
    image = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        less = network.receptive_field - 1
        tiled = upscale_tiled(network, image, scale=scale, overlap=less, tile=13)
    assert (tiled - whole).abs().max() > 1e-8


def test_a_tile_as_large_as_the_image_is_one_call() -> None:
    calls: list[tuple[int, ...]] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(x.shape))
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    images = torch.rand(2, 3, 7, 5)
    enlarged = upscale_tiled(network, images, scale=2, overlap=3, tile=7)
    assert calls == [(1, 3, 7, 5)] * 2
    assert torch.equal(enlarged[..., ::2, ::2], images)


def test_no_images_make_no_images() -> None:
    empty = upscale_tiled(lambda x: x, torch.rand(0, 3, 7, 5), scale=2, overlap=3, tile=7)
    assert empty.shape == (0, 3, 14, 10)


def test_cancellation_stops_between_two_tiles() -> None:
    calls = 0

    def network(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return x

    with cancellation.scope(lambda: calls < 2), pytest.raises(RequestCancelled):
        upscale_tiled(network, torch.rand(1, 3, 8, 8), scale=1, overlap=0, tile=2)
    assert calls == 2


def test_an_error_in_a_tile_is_raised() -> None:
    """It is not replaced by what happens to lie in memory."""

    def network(x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] == 3:
            raise RuntimeError("out of memory")
        return x

    with pytest.raises(RuntimeError, match="out of memory"):
        upscale_tiled(network, torch.rand(1, 3, 5, 2), scale=1, overlap=0, tile=3)


def test_the_tile_fills_the_memory_and_no_more() -> None:
    pixel = bytes_per_pixel(64, 4)
    assert 12_000 < pixel < 13_000  # measured elsewhere: about 12.6 kB
    side = tile_for_memory(2**30, pixel, 36)
    assert (side + 72) ** 2 * pixel <= 2**30 < (side + 73) ** 2 * pixel
    with pytest.raises(InvalidInput, match=r"needs (\d+) MiB") as refused:
        tile_for_memory(10 * 2**20, pixel, 36)
    least = int(str(refused.value).split("needs ")[1].split()[0])
    assert tile_for_memory(least * 2**20, pixel, 36) >= 1
    with pytest.raises(InvalidInput):
        tile_for_memory((least - 1) * 2**20, pixel, 36)
