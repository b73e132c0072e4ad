from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import UpscalerInfo
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, decode_image, encode_image
from ranksrgan.metrics import Bicubic, imresize
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling.picture import upscale_picture
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


class Nearest:
    """Repeats pixels: what a value becomes can be told by looking."""

    info = UpscalerInfo("nearest", "1", 4, "nearest")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Tinting(Nearest):
    """A network that makes greys blue."""

    def upscale(self, images: Tensor) -> Tensor:
        tint = torch.tensor([0.9, 0.95, 1.0]).reshape(3, 1, 1)
        return super().upscale(images) * tint


@pytest.mark.parametrize("factor", [255, float("nan")])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_no_picture_is_refused(channels: int, factor: float) -> None:
    class Counting(Nearest):
        def upscale(self, images: Tensor) -> Tensor:
            return super().upscale(images) * factor

    with pytest.raises(InvalidInput, match="the upscaler nearest returned values from"):
        upscale_picture(random_picture(8, 9, channels), Counting())


@pytest.fixture
def network(lively: Callable[..., SRResNet]) -> GeneratorUpscaler:
    return GeneratorUpscaler(lively())


def random_picture(*shape: int, dtype: type = np.uint8, seed: int = 0) -> Picture:
    top = np.iinfo(dtype).max
    return Picture(np.random.default_rng(seed).integers(0, top + 1, shape, dtype=dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_survives(dtype: type, channels: int) -> None:
    picture = random_picture(40, 50, channels, dtype=dtype)
    enlarged = upscale_picture(picture, Nearest())
    assert enlarged.colour.dtype == dtype
    assert enlarged.alpha is None
    assert np.array_equal(enlarged.colour, picture.colour.repeat(4, 0).repeat(4, 1))


def test_dark_sixteen_bits_stay_dark() -> None:
    """Depth is a matter of type: values below 256 are no 8-bit picture."""
    picture = Picture(np.full((4, 4, 3), 200, np.uint16))
    enlarged = upscale_picture(picture, Nearest())
    assert (enlarged.colour == 200).all()
    assert enlarged.depth == 65535


def test_colour_is_what_the_network_says(network: GeneratorUpscaler) -> None:
    picture = random_picture(9, 6, 3)
    planes = torch.from_numpy(picture.colour.transpose(2, 0, 1)[None].copy()).float() / 255
    expected = (network.upscale(planes)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(upscale_picture(picture, network).colour, expected)


def test_depth_can_be_changed() -> None:
    deep = random_picture(5, 5, 3, dtype=np.uint16)
    narrow = upscale_picture(deep, Nearest(), depth=255)
    assert np.array_equal(narrow.colour[::4, ::4], np.round(deep.colour / 257).astype(np.uint8))
    shallow = Picture(random_picture(5, 5, 3).colour, np.full((5, 5), 255, np.uint8))
    wide = upscale_picture(shallow, Nearest(), depth=65535)
    assert np.array_equal(wide.colour[::4, ::4], shallow.colour.astype(np.uint16) * 257)
    assert wide.alpha is not None
    assert (wide.alpha == 65535).all()
    with pytest.raises(InvalidInput, match="neither 255 nor 65535"):
        upscale_picture(shallow, Nearest(), depth=1023)


def test_grey_gives_grey_with_the_luma_of_the_result() -> None:
    picture = random_picture(6, 5, 1)
    enlarged = upscale_picture(picture, Tinting())
    assert enlarged.colour.shape == (24, 20, 1)
    luma = 0.299 * 0.9 + 0.587 * 0.95 + 0.114
    assert np.abs(enlarged.colour[::4, ::4] - luma * picture.colour).max() <= 0.5001


def test_grey_in_three_channels_is_not_tinted_either() -> None:
    grey = random_picture(6, 5, 1)
    enlarged = upscale_picture(Picture(grey.colour.repeat(3, axis=2)), Tinting())
    assert enlarged.colour.shape == (24, 20, 3)
    single = upscale_picture(grey, Tinting())
    assert np.array_equal(enlarged.colour, single.colour.repeat(3, axis=2))


def test_a_coloured_pixel_makes_a_coloured_picture() -> None:
    colour = random_picture(6, 5, 1).colour.repeat(3, axis=2)
    colour[2, 2] = (200, 10, 10)
    enlarged = upscale_picture(Picture(colour), Tinting()).colour
    assert (enlarged[..., 0] < enlarged[..., 2]).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (1, 1), (301, 5)])
def test_opaque_stays_opaque_and_the_colour_as_without_alpha(
    network: GeneratorUpscaler, dtype: type, shape: tuple[int, int]
) -> None:
    picture = random_picture(*shape, 3, dtype=dtype)
    opaque = Picture(picture.colour, np.full(shape, np.iinfo(dtype).max, dtype))
    enlarged = upscale_picture(opaque, network)
    assert enlarged.alpha is not None
    assert enlarged.alpha.dtype == dtype
    assert (enlarged.alpha == np.iinfo(dtype).max).all()
    assert np.array_equal(enlarged.colour, upscale_picture(picture, network).colour)


def test_alpha_is_bicubic() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (8, 7), dtype=np.uint8)
    picture = Picture(random_picture(8, 7, 3).colour, alpha)
    enlarged = upscale_picture(picture, Nearest()).alpha
    expected = imresize(torch.from_numpy(alpha / 255.0), 4).clamp(0, 1).mul(255).numpy()
    assert enlarged is not None
    assert np.abs(enlarged - expected).max() <= 0.501


@pytest.mark.parametrize("hidden", [0, 255])
def test_no_fringe_where_the_visible_ends(hidden: int) -> None:
    """A disc of one colour keeps it up to its edge, whatever colour the transparent part hides."""
    rows, columns = np.mgrid[:24, :24]
    inside = (rows - 11.5) ** 2 + (columns - 11.5) ** 2 < 70
    colour = np.full((24, 24, 3), hidden, np.uint8)
    colour[inside] = (200, 120, 40)
    picture = Picture(colour, np.where(inside, 255, 0).astype(np.uint8))
    enlarged = upscale_picture(picture, Bicubic(4))
    assert enlarged.alpha is not None
    seen = enlarged.colour[enlarged.alpha > 0]
    assert len(seen) > 16 * inside.sum()  # the soft edge included
    assert np.abs(seen.astype(int) - (200, 120, 40)).max() <= 1


def test_the_hidden_takes_the_colour_nearby_and_the_visible_keeps_its_own() -> None:
    colour = np.zeros((8, 16, 3), np.uint8)
    alpha = np.zeros((8, 16), np.uint8)
    colour[:, 0], alpha[:, 0] = (255, 0, 0), 255
    colour[:, 15], alpha[:, 15] = (0, 0, 255), 1  # hardly visible is visible
    enlarged = upscale_picture(Picture(colour, alpha), Nearest()).colour[::4, ::4]
    assert (enlarged[:, 0] == (255, 0, 0)).all()
    assert (enlarged[:, 15] == (0, 0, 255)).all()
    assert (enlarged[:, 1] == (255, 0, 0)).all()
    assert (enlarged[:, 14] == (0, 0, 255)).all()


def test_hidden_colour_does_not_make_a_grey_picture_coloured() -> None:
    colour = np.full((6, 6, 3), 90, np.uint8)
    alpha = np.full((6, 6), 255, np.uint8)
    colour[0, 0], alpha[0, 0] = (255, 0, 0), 0
    enlarged = upscale_picture(Picture(colour, alpha), Tinting()).colour
    assert (enlarged == enlarged[..., :1]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 13), (13, 1), (5, 7)])
def test_wholly_transparent_and_odd_sizes(
    network: GeneratorUpscaler, shape: tuple[int, int]
) -> None:
    picture = Picture(random_picture(*shape, 3).colour, np.zeros(shape, np.uint8))
    enlarged = upscale_picture(picture, network)
    assert enlarged.colour.shape == (4 * shape[0], 4 * shape[1], 3)
    assert enlarged.alpha is not None
    assert not enlarged.alpha.any()
    one = np.zeros(shape, np.uint8)
    one[-1, -1] = 255
    filled = upscale_picture(Picture(picture.colour, one), Nearest()).colour
    assert (filled == picture.colour[-1, -1]).all()


def test_a_palette_picture_is_enlarged_like_its_colours(network: GeneratorUpscaler) -> None:
    import io

    from PIL import Image

    colours = random_picture(6, 6, 3).colour // 64 * 64
    file = io.BytesIO()
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(file, "PNG")
    picture = decode_image(file.getvalue())
    assert np.array_equal(picture.colour, colours)
    plain = decode_image(encode_image(Picture(colours)))
    expected = upscale_picture(plain, network).colour
    assert np.array_equal(upscale_picture(picture, network).colour, expected)
