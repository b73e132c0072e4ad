from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.contracts.errors import (
    BY_CODE,
    ImageTooLarge,
    InternalError,
    InvalidImage,
    InvalidInput,
    LimitExceeded,
)
from ranksrgan.contracts.images import Picture, encode_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import (
    error_pb2,
    features_pb2,
    image_pb2,
    scoring_pb2,
    super_resolution_pb2,
)
from ranksrgan.contracts.wire import codec, error_codec

DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=4),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**16),
)
def test_tensors_round_trip_to_the_bit(shape: list[int], dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = (torch.rand(shape, generator=generator) * 200).to(dtype)
    back = codec.tensor_from_proto(codec.tensor_to_proto(tensor))
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


def test_a_transposed_tensor_travels_in_its_own_order() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(codec.tensor_from_proto(codec.tensor_to_proto(tensor)), tensor)


def test_what_is_read_can_be_written_to() -> None:
    back = codec.tensor_from_proto(codec.tensor_to_proto(torch.zeros(3)))
    back += 1
    assert back.sum() == 3


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (image_pb2.Tensor(dtype=99, shape=[1], data=b"1"), "data type 99"),
        (image_pb2.Tensor(dtype=1, shape=[2, 2], data=b"123"), "3 bytes for shape"),
        (image_pb2.Tensor(dtype=1, shape=[-1, -4], data=b"1234"), "4 bytes for shape"),
        (image_pb2.Tensor(dtype=4, shape=[2**40, 2**40], data=b""), "0 bytes for shape"),
    ],
)
def test_tensors_that_contradict_themselves_are_refused(
    message: image_pb2.Tensor, text: str
) -> None:
    with pytest.raises(InvalidInput, match=text) as caught:
        codec.tensor_from_proto(message, "images[0]")
    assert caught.value.field == "images[0]"


def test_an_encoded_image_arrives_as_its_pixels() -> None:
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    message = codec.picture_to_proto(Picture(pixels))
    image = codec.image_from_proto(message, "image", 100)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy().transpose(1, 2, 0), pixels)


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (image_pb2.Image(), InvalidInput, "set encoded, tensor or shared"),
        (codec.image_to_proto(torch.zeros(2, 4, 4)), InvalidInput, "shape"),
        (codec.image_to_proto(torch.zeros(3, 0, 4)), InvalidInput, "shape"),
        (codec.image_to_proto(torch.zeros(3, 20, 6)), ImageTooLarge, "6 x 20"),
        (image_pb2.Image(encoded=b"not an image"), InvalidImage, "not a PNG"),
        (
            image_pb2.Image(encoded=encode_image(Picture(np.zeros((20, 6, 3), np.uint8)))),
            ImageTooLarge,
            "6 x 20",
        ),
    ],
)
def test_images_that_are_none_are_refused(
    message: image_pb2.Image, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        codec.image_from_proto(message, "images[0]", 100)


def test_infos_round_trip() -> None:
    scorer = ScorerInfo("niqe?border=4", "1", False, True, True, 96, "ab")
    assert codec.scorer_info_from_proto(codec.scorer_info_to_proto(scorer)) == scorer
    upscaler = UpscalerInfo("fine", "2", 4, "srresnet", "cd")
    assert codec.upscaler_info_from_proto(codec.upscaler_info_to_proto(upscaler)) == upscaler


def test_feature_sets_round_trip_to_the_bit_nan_included() -> None:
    arrays = {
        "patches": torch.tensor([[1.0, torch.nan], [-0.0, torch.inf]], dtype=torch.float64),
        "image": torch.arange(3.0),
    }
    back = codec.feature_set_from_proto(codec.feature_set_to_proto(arrays))
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert torch.equal(back[name].view(torch.uint8), array.view(torch.uint8))


def test_errors_of_items_round_trip_by_class() -> None:
    for kind in BY_CODE.values():
        for field in ("images", None):
            error = error_codec.item_error_from_proto(
                error_codec.item_error_to_proto(kind("what and why", field=field))
            )
            assert type(error) is kind
            assert (str(error), error.field) == ("what and why", field)


def test_an_item_error_of_another_implementation_goes_by_its_status() -> None:
    limit = error_codec.item_error_from_proto(
        error_pb2.Error(code=8, reason="QUOTA", message="slow down")
    )
    assert type(limit) is LimitExceeded
    assert str(limit) == "slow down"
    assert type(error_codec.item_error_from_proto(error_pb2.Error(code=99))) is InternalError


def test_every_data_message_has_a_pair_of_converters() -> None:
    """Requests and responses are put together where they are used; the rest is the codec's."""
    stems = {
        "Tensor": "tensor",
        "SharedTensor": "shared_tensor",
        "Image": "image",
        "ImageAhead": "image_ahead",
        "ScorerInfo": "scorer_info",
        "ModelInfo": "upscaler_info",
        "FeatureSet": "feature_set",
    }
    data = {
        name
        for module in (error_pb2, features_pb2, image_pb2, scoring_pb2, super_resolution_pb2)
        for name in module.DESCRIPTOR.message_types_by_name
        if not name.endswith(("Request", "Response"))
    }
    assert data == {*stems, "Error"}  # which is `error_codec`'s
    for stem in stems.values():
        assert callable(getattr(codec, f"{stem}_to_proto"))
        assert callable(getattr(codec, f"{stem}_from_proto"))
