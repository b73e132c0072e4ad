from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.luma import canonical_name, check_images, luma, luma_planes, shave

COLOURS = torch.randint(0, 256, (1, 3, 40, 50), generator=torch.Generator().manual_seed(5)).byte()


def exact_y(red: int, green: int, blue: int) -> Fraction:
    return 16 + Fraction(65481 * red + 128553 * green + 24966 * blue, 255000)


def test_y_is_the_exact_value_rounded() -> None:
    y = luma(COLOURS)[0].flatten().tolist()
    pixels = COLOURS[0].flatten(1).T.tolist()
    for value, pixel in zip(y, pixels, strict=True):
        exact = exact_y(*pixel)
        assert abs(value - exact) <= Fraction(1, 2)
        assert value == int(value)


def test_y_of_known_colours() -> None:
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 1, 1)]
    image = torch.tensor(colours, dtype=torch.uint8).T.reshape(1, 3, 1, -1)
    assert luma(image)[0, 0].tolist() == [16, 235, 81, 145, 41, 17]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((146, 124, 97), 125), ((220, 208, 216), 199), ((198, 108, 43), 125), ((46, 48, 5), 53)],
)
def test_y_on_a_tie_agrees_with_the_reference_scores(
    colour: tuple[int, int, int], expected: int
) -> None:
    assert exact_y(*colour) % 1 == Fraction(1, 2)
    image = torch.tensor(colour, dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert luma(image).item() == expected


def test_unrounded_y() -> None:
    y = luma(COLOURS, rounded=False)[0].flatten().tolist()
    exact = [float(exact_y(*pixel)) for pixel in COLOURS[0].flatten(1).T.tolist()]
    assert y == pytest.approx(exact, abs=1e-12)


def test_gray_has_matlabs_weights_not_the_familiar_ones() -> None:
    weights = torch.tensor([0.298936021293776, 0.587043074451121, 0.114020904255103])
    sums = torch.einsum("nchw,c->nhw", COLOURS.double(), weights.double())
    assert torch.equal(luma(COLOURS, "gray"), torch.floor(sums + 0.5))
    # 0.299, 0.587, 0.114 give 25.505, hence 26
    image = torch.tensor([3, 4, 195], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert luma(image, "gray").item() == 25
    assert float(luma(image, "gray", rounded=False)) == pytest.approx(25.479056694)


@pytest.mark.parametrize("convention", ["y", "gray"])
def test_one_channel_is_its_own_luma(convention: str) -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(luma(image, convention)[0], image[0, 0].double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_are_rounded_to_8_bits_first(dtype: torch.dtype) -> None:
    assert torch.equal(luma((COLOURS.double() / 255).to(dtype)), luma(COLOURS))
    halves = torch.tensor([0.5, 2.5, 3.4999, 254.5], dtype=torch.float64).reshape(1, 1, 1, 4) / 255
    assert luma(halves)[0, 0].tolist() == [1, 3, 3, 255]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), "shape"),
        (torch.zeros(1, 2, 8, 8), "shape"),
        (torch.zeros(0, 3, 8, 8), "shape"),
        (torch.zeros(1, 3, 0, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((1, 3, 8, 8), 255.0), "divide by 255"),
        (torch.full((1, 3, 8, 8), -0.01), "clamp"),
        (torch.full((1, 3, 8, 8), torch.nan), "nan"),
        (torch.full((1, 3, 8, 8), torch.inf), "inf"),
    ],
)
def test_other_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        check_images(images, "references")
    assert caught.value.field == "references"


def test_one_bad_value_among_many_is_found() -> None:
    images = torch.rand(2, 3, 8, 8)
    check_images(images)
    images[1, 2, 3, 4] = torch.nan
    with pytest.raises(InvalidInput):
        check_images(images)


def test_unknown_convention() -> None:
    with pytest.raises(InvalidInput, match="y, gray"):
        luma(COLOURS, "Y")  # type: ignore[arg-type]


def test_shave() -> None:
    plane = torch.arange(30.0).reshape(5, 6)
    assert torch.equal(shave(plane, 0), plane)
    assert shave(plane, 2).tolist() == [[14, 15]]
    with pytest.raises(ImageTooSmall, match="5 x 6"):
        shave(plane, 3)
    with pytest.raises(InvalidInput, match="-1"):
        shave(plane, -1)


def test_planes_come_one_by_one_and_without_a_graph() -> None:
    images = torch.rand(3, 3, 9, 9, requires_grad=True)
    planes = list(luma_planes(images, 2, "gray"))
    assert torch.equal(torch.stack(planes), luma(images.detach(), "gray")[:, 2:-2, 2:-2])
    assert not planes[0].requires_grad


def test_canonical_name() -> None:
    assert canonical_name("niqe", 0, "y") == "niqe"
    assert canonical_name("niqe", 4, "gray") == "niqe?border=4&luma=gray"
