"""Tiled equals whole, for every generator that there is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, UntypedStorage

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput, RequestCancelled
from ranksrgan.srgan.generators.architectures import ARCHITECTURES
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.parts import Part, Parts, Residual, Run
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling.layout import Layout
from ranksrgan.srgan.upscaling.precision import by_winograd, in_bfloat16
from ranksrgan.srgan.upscaling.refine import self_ensemble
from ranksrgan.srgan.upscaling.tiling import Box, crop
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

SMALL: Mapping[str, Mapping[str, int]] = {
    "fast_srgan": {"features": 4, "blocks": 2},
    "imdn": {"features": 8, "blocks": 2},
    "srgan_leftthomas": {"features": 4},
    "rrdbnet": {"features": 4, "blocks": 1, "growth": 2},
    "two_view_rrdbnet": {"features": 4, "blocks": 1, "growth": 2},
}
FOLDED = {"rrdbnet x2": 2, "rrdbnet x1": 1}
EVERY = pytest.mark.parametrize("architecture", [*ARCHITECTURES, *FOLDED])


def lively(architecture: str) -> Generator:
    """Small, with random weights of a size that keeps signals alive."""
    name = architecture.split()[0]
    sizes = dict(SMALL.get(name, {"features": 4, "blocks": 2}))
    if architecture in FOLDED:
        sizes["scale"] = FOLDED[architecture]
    network = ARCHITECTURES[name](**sizes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, value in network.named_parameters():
            if value.ndim == 4:
                value.normal_(std=(0.7 / value[0].numel()) ** 0.5, generator=generator)
            elif value.ndim == 1:
                value.uniform_(0.1, 0.4, generator=generator)
                if key.endswith("bias"):
                    value.sub_(0.2)
    return network.eval()


def through(parts: Parts, image: Tensor, *, tile: int | None, memory: int = 2**30) -> Tensor:
    """The parts' enlargement of an image, put together."""
    area = Box(0, 0, *image.shape[2:])
    scale = parts.scale
    result = image.new_full((1, 3, scale * area.height, scale * area.width), torch.nan)
    with torch.no_grad():
        for box, piece in Run(parts, area, memory, tile).pieces(image, area, area):
            crop(result, area, box, scale).copy_(piece)
    return result


@EVERY
@pytest.mark.parametrize("tile", [1, 7, 16, 99])
@pytest.mark.parametrize("shape", [(23, 31), (1, 19), (20, 1), (1, 1)])
def test_tiled_equals_whole(architecture: str, shape: tuple[int, int], tile: int) -> None:
    if tile == 1 and shape == (23, 31):
        shape = (4, 5)  # a tile for each pixel
    images = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    network = lively(architecture)
    with torch.no_grad():
        expected = network(images).clamp(0, 1)
    tiled = GeneratorUpscaler(network, tile=tile).upscale(images)
    torch.testing.assert_close(tiled, expected, rtol=0, atol=1e-6)


@EVERY
def test_parts_are_the_network_in_double_precision(architecture: str) -> None:
    network = lively(architecture).double()
    image = torch.rand(1, 3, 33, 30, dtype=torch.float64)
    with torch.no_grad():
        expected = network(image)
    assert expected.std() > 1e-3  # there is something to compare
    parts = network.parts()
    torch.testing.assert_close(through(parts, image, tile=9), expected, rtol=0, atol=1e-11)


@EVERY
def test_no_part_reaches_farther_than_it_must(architecture: str) -> None:
    """One pixel less shows: so the tests above can fail, and no work is wasted on a wide halo."""
    network = lively(architecture).double()
    parts = network.parts()
    image = torch.rand(1, 3, 40, 37, dtype=torch.float64)
    with torch.no_grad():
        expected = network(image)
    for number, part in enumerate(parts.flat()):
        if not part.reach:
            continue
        shorter = _with_reach(parts, number, part.reach - 1)
        made = through(shorter, image, tile=9)
        assert not torch.allclose(made, expected, rtol=0, atol=1e-10), number


def test_a_part_that_sees_all_makes_the_whole_unlimited() -> None:
    def same(x: Tensor) -> Tensor:
        return x.clone()

    local, everywhere = Part(same, 2, 3, 1), Part(same, None, 3, 1)
    assert Parts((local, Residual((local, local))), local).reach == 8
    assert Parts((local, Residual((everywhere,))), local).reach is None


def test_what_must_be_seen_whole_is_one_tile_of_unfolded_pixels() -> None:
    everywhere = Part(torch.clone, None, 12, 1)
    parts = Parts((everywhere,), Part(torch.clone, 0, 3, 1, 2), fold=2)
    layout = Layout(parts, memory=2**20, tile=2, name="whole", on_cpu=True)
    image = Box(0, 0, 5, 3)
    assert layout.tiles(5, 3) == [(image, image)]
    with pytest.raises(ImageTooLarge, match="5001 x 3001 pixels"):  # width x height
        layout.tiles(3001, 5001)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("how", [in_bfloat16, by_winograd])
def test_a_folded_network_in_sixteen_bits_is_cut(
    scale: int, how: Callable[[Generator], Generator]
) -> None:
    """Winograd's convolutions by the native operators where they serve, else by their twins."""
    torch.manual_seed(0)
    twin = how(RRDBNet(32, 1, 32, scale).eval())
    image = torch.rand(1, 3, 13, 11).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = twin(image)
    for tile in (1, 5, 8):
        made = through(twin.parts(), image, tile=tile)
        error = (made - expected).square().mean().sqrt()
        assert error < 2**-7 * expected.std(), tile  # one of bfloat16's roundings is 2^-8


@pytest.mark.parametrize("architecture", FOLDED)
@pytest.mark.parametrize("tile", [1, 5, 8])
def test_the_ensemble_of_a_folded_network_with_odd_sides(architecture: str, tile: int) -> None:
    network = lively(architecture)
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(4))
    expected = self_ensemble(GeneratorUpscaler(network), image)
    by_hand = torch.zeros_like(expected)
    with torch.no_grad():
        for turns in range(4):
            for mirrored in (False, True):
                given = image.flip(3) if mirrored else image
                made = network(given.rot90(turns, (2, 3))).clamp(0, 1).rot90(-turns, (2, 3))
                by_hand += (made.flip(3) if mirrored else made) / 8
    torch.testing.assert_close(expected, by_hand, rtol=0, atol=1e-6)
    tiled = self_ensemble(GeneratorUpscaler(network, tile=tile), image)
    torch.testing.assert_close(tiled, expected, rtol=0, atol=1e-6)


def test_residuals_nest() -> None:
    def twice(x: Tensor) -> Tensor:
        return 2 * x

    part = Part(twice, 1, 3, 100)
    inner = Residual((part,), factor=0.5)  # 2 x
    parts = Parts((Residual((inner, part)),), part)  # (1 + 4) x, doubled
    image = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(through(parts, image, tile=3), 10 * image)
    assert parts.map_bytes == 4 * 3 * (2 + 2)


def test_maps_that_come_as_a_whole_are_kept_no_longer_than_they_are_read() -> None:
    """However many parts there are."""
    made: list[weakref.ref[UntypedStorage]] = []
    most = 0

    def remembered(x: Tensor) -> Tensor:
        nonlocal most
        y = x + 1
        made.append(weakref.ref(y.untyped_storage()))
        most = max(most, sum(storage() is not None for storage in made))
        return y

    part = Part(remembered, 0, 3, 100)
    parts = Parts((Residual((part, part, part)),) * 8, part)
    through(parts, torch.rand(1, 3, 20, 20), tile=None)
    assert 2 <= most <= parts.map_bytes // (4 * 3) + 1  # and the one that is being made


def test_cancellation_stops_between_two_chunks() -> None:
    calls = 0

    def watched(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x.clone()

    parts = Parts((), Part(watched, 0, 3, 1))
    with cancellation.scope(lambda: calls < 2), pytest.raises(RequestCancelled):
        through(parts, torch.rand(1, 3, 8, 8), tile=2)
    assert calls == 2


def test_an_error_in_a_chunk_is_raised() -> None:
    """It is not replaced by what happens to lie in memory."""

    def failing(x: Tensor) -> Tensor:
        if x.shape[2] == 3:
            raise RuntimeError("out of memory")
        return x.clone()

    with pytest.raises(RuntimeError, match="out of memory"):
        through(Parts((), Part(failing, 0, 3, 1)), torch.rand(1, 3, 5, 2), tile=3)


@pytest.mark.parametrize("architecture", ["srresnet", *FOLDED])
def test_no_chunk_is_larger_than_memory_allows(architecture: str) -> None:
    parts = lively(architecture).parts()
    layout = Layout(parts, memory=2**20, tile=None, name="small", on_cpu=True)
    seen: list[int] = []

    def watch(part: Part) -> Part:
        def compute(x: Tensor) -> Tensor:
            seen.append(x.shape[2] * x.shape[3] * part.bytes_per_pixel)
            return part.compute(x)

        return Part(compute, part.reach, part.channels, part.bytes_per_pixel, part.scale)

    watched = _replaced(parts, watch)
    for read, keep in layout.tiles(200, 300):
        box = read.folded(parts.fold)
        assert (box.height * box.width) * parts.map_bytes <= 2**19
        run = layout.run(watched, Box(0, 0, 200, 300))
        with torch.no_grad():
            for _ in run.pieces(torch.rand(1, 3, read.height, read.width), read, keep):
                pass
    assert max(seen) <= 2**19


@pytest.mark.parametrize("architecture", FOLDED)
@pytest.mark.parametrize("shape", [(191, 150), (1, 400), (400, 1), (5, 3)])
def test_little_memory_cuts_a_folded_image_between_its_squares(
    architecture: str, shape: tuple[int, int]
) -> None:
    network = lively(architecture)
    parts, area = network.parts(), Box(0, 0, *shape)
    memory = {2: 300_000, 4: 650_000}[parts.fold]
    layout = Layout(parts, memory=memory, tile=None, name=architecture, on_cpu=True)
    tiles = layout.tiles(*shape, strips=True)
    assert len(tiles) > 3 or min(shape) < 4
    covered = torch.zeros(shape)
    for tile in tiles:
        crop(covered[None, None], area, tile.keep).add_(1)
        for box in tile:
            assert box.top % parts.fold == box.left % parts.fold == 0
            assert box.bottom % parts.fold == 0 or box.bottom == area.bottom
            assert box.right % parts.fold == 0 or box.right == area.right
    assert (covered == 1).all()
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
    upscaler = GeneratorUpscaler(network, memory=memory)
    read: list[tuple[int, int]] = []

    def rows(top: int, bottom: int) -> Tensor:
        read.append((top, bottom))
        return image[:, :, top:bottom]

    strips = list(upscaler.upscale_strips(rows, *shape))
    assert len(strips) == len(upscaler.rows_needed(*shape)) == len({t.keep.top for t in tiles})
    torch.testing.assert_close(torch.cat(strips, 2), expected, rtol=0, atol=1e-6)
    # Every row once, in order.
    assert [top for top, _ in read] == [0, *(bottom for _, bottom in read[:-1])]
    assert read[-1][1] == shape[0]


def test_full_hd_in_real_esrgan_s_form_of_scale_2_is_cut() -> None:
    parts = RRDBNet(64, 1, 32, 2).parts()
    for memory, count in ((2**26, 28), (2**30, 1)):
        layout = Layout(parts, memory=memory, tile=None, name="rrdbnet", on_cpu=True)
        assert len(layout.tiles(1080, 1920)) == count


def test_too_little_memory_names_what_would_do() -> None:
    parts = SRResNet(256, 1).parts()
    with pytest.raises(InvalidInput, match=r"needs (\d+) MiB") as refused:
        Layout(parts, memory=2**20, tile=None, name="srresnet", on_cpu=True)
    least = int(str(refused.value).split("needs ")[1].split()[0])
    Layout(parts, memory=least * 2**20, tile=None, name="srresnet", on_cpu=True).tiles(9, 9)
    with pytest.raises(InvalidInput, match="hold one tile"):
        Layout(parts, memory=(least - 1) * 2**20, tile=None, name="srresnet", on_cpu=True)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_picture_that_fits_needs_no_memory_for_a_tile_and_its_halo(scale: int) -> None:
    """Real-ESRGAN's own size depends on 349 (folded) pixels to each side."""
    with torch.device("meta"):
        parts = RRDBNet(scale=scale).parts()
    frugal = Layout(parts, memory=2**28, tile=None, name="rrdbnet", on_cpu=True)
    image = Box(0, 0, 300, 300)
    assert [tile.keep for tile in frugal.tiles(300, 300)] == [image]
    side = 1000 * parts.fold
    with pytest.raises(ImageTooLarge, match=rf"256 MiB hold neither .* {side} x {side}") as refused:
        frugal.tiles(side, side)
    assert refused.value.field == "images"
    least = int(str(refused.value).split("memory=")[1].split()[0])
    assert least == 955
    with pytest.raises(ImageTooLarge):
        Layout(parts, memory=(least - 1) * 2**20, tile=5, name="rrdbnet", on_cpu=True).tiles(
            side, side
        )
    # What is narrower than the halo is cut the other way, and needs less.
    for low in ((100 * parts.fold, 3 * side), (3 * side, 100 * parts.fold)):
        tiles = frugal.tiles(*low, strips=True)
        assert len(tiles) > 1
        assert {min(t.keep.height, t.keep.width) for t in tiles} != {0}
        for read, _ in tiles:
            box = read.folded(parts.fold)
            assert box.height * box.width * parts.map_bytes <= 2**27


def test_what_fits_without_a_tile_is_the_same_picture() -> None:
    network = RRDBNet(4, 3, 2, 2).eval()
    upscaler = GeneratorUpscaler(network, memory=2**18)
    image = torch.rand(1, 3, 25, 31, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
    torch.testing.assert_close(upscaler.upscale(image), expected, rtol=0, atol=1e-6)
    low = torch.rand(1, 3, 9, 400, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = network(low).clamp(0, 1)
    torch.testing.assert_close(upscaler.upscale(low), expected, rtol=0, atol=1e-6)
    with pytest.raises(ImageTooLarge, match="a pixel depends on 98 to each side in rrdbnet"):
        upscaler.upscale(torch.rand(1, 3, 400, 400))
    layout = Layout(network.parts(), memory=2**18, tile=None, name="rrdbnet", on_cpu=True)
    with pytest.raises(ImageTooLarge) as refused:
        layout.tiles(210, 220)
    least = int(str(refused.value).split("memory=")[1].split()[0])
    Layout(network.parts(), memory=least * 2**20, tile=None, name="rrdbnet", on_cpu=True).tiles(
        210, 220
    )


def test_an_image_too_large_for_a_whole_part_is_refused() -> None:
    parts = lively("fast_srgan").parts()
    with pytest.raises(ImageTooLarge, match=r"as a whole.* need memory=(\d+) \(MiB\)") as refused:
        Layout(parts, memory=2**20, tile=8, name="fast_srgan", on_cpu=True).tiles(400, 300)
    needed = int(str(refused.value).split("memory=")[1].split()[0])
    tiles = Layout(parts, memory=needed * 2**20, tile=8, name="fast_srgan", on_cpu=True).tiles(
        400, 300
    )
    assert [tile.keep for tile in tiles] == [Box(0, 0, 400, 300)]


def _with_reach(parts: Parts, number: int, reach: int) -> Parts:
    counted = iter(range(len(parts.flat())))

    def shorten(part: Part) -> Part:
        if next(counted) != number:
            return part
        return Part(part.compute, reach, part.channels, part.bytes_per_pixel, part.scale)

    return _replaced(parts, shorten)


def _replaced(parts: Parts, change: Callable[[Part], Part]) -> Parts:
    def replace(step: Part | Residual) -> Part | Residual:
        if isinstance(step, Part):
            return change(step)
        return Residual(tuple(map(replace, step.parts)), step.factor)

    return Parts(tuple(map(replace, parts.trunk)), change(parts.enlarge), parts.fold)
