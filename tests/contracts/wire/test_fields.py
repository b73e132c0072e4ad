"""Fields are counted as the parser would make them, whatever the bytes are."""

from __future__ import annotations

import random
import time

import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from ranksrgan.contracts.v1 import image_pb2, ranker_training_pb2, scoring_pb2
from ranksrgan.contracts.v1.inference import open_inference_pb2
from ranksrgan.contracts.wire.fields import has_more_fields

PIXEL = image_pb2.Image(tensor=image_pb2.Tensor(dtype=1, shape=[3, 1, 1], data=b"abc"))
EMPTY = b"\x12\x00"  # an Image in a ScoreRequest
LONG = image_pb2.Image(tensor=image_pb2.Tensor(shape=[1] * 100))


def listed(number: int) -> struct_pb2.Struct:
    config = struct_pb2.Struct()
    config["steps"] = [[]] * number
    return config


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (scoring_pb2.ScoreRequest(scorer="niqe", images=[PIXEL] * 3), 1 + 3 * 5),
        (scoring_pb2.ScoreRequest(images=[image_pb2.Image()] * 7), 7),
        (scoring_pb2.ScoreRequest(scorer="x" * 100), 1),
        (scoring_pb2.ScoreRequest(images=[LONG]), 3 + 100 // 8),
        (ranker_training_pb2.TrainRankerRequest(config=listed(9)), 1 + 4 + 9 * 2),
        (
            open_inference_pb2.ModelInferRequest(
                inputs=[{"shape": [1], "contents": {"fp32_contents": [1, 2, 3]}}],
                raw_input_contents=[b""] * 3,
            ),
            1 + 1 + 2 + 3,
        ),
    ],
)
def test_fields_of_messages_in_messages_count(message: Message, fields: int) -> None:
    data = message.SerializeToString()
    data += b"\xa2\x06\x80\x01" + b"\0" * 128  # and an unknown one, so long that it matters
    assert not has_more_fields(data, message.DESCRIPTOR, fields + 1)
    assert has_more_fields(data, message.DESCRIPTOR, fields)


def test_each_wire_type_is_passed_over() -> None:
    one = (
        b"\xa0\x06\x96\x01" + b"\xa1\x06" + b"8" * 8 + b"\xa5\x06" + b"4" * 4 + b"\xa3\x06\xa4\x06"
    )
    kind = scoring_pb2.ScoreRequest.DESCRIPTOR
    scoring_pb2.ScoreRequest.FromString(one)
    for number, most, more in ((1, 5, False), (10, 50, False), (10, 49, True)):
        assert has_more_fields(one * number, kind, most) is more


@pytest.mark.parametrize("behind", [b"", b"\x12", b"\x12\xff", b"\x17", b"\x80" * 1000])
def test_what_stands_before_a_damage_counts(behind: bytes) -> None:
    data = EMPTY * 60 + behind
    kind = scoring_pb2.ScoreRequest.DESCRIPTOR
    assert has_more_fields(data, kind, 59)
    assert not has_more_fields(data, kind, 62)
    within = b"\x12" + bytes([len(EMPTY) * 60]) + EMPTY * 60 + behind
    assert not has_more_fields(within, kind, 62)


def test_a_message_in_front_of_a_damaged_one_counts() -> None:
    """The parser makes it before it comes to the damage."""
    large = b"\x12" + bytes([100]) + EMPTY * 50
    kind = scoring_pb2.ScoreRequest.DESCRIPTOR
    assert has_more_fields(large + b"\x12\x0b" + b"\xff" * 11, kind, 50)


def test_random_bytes_have_no_more_fields_than_they_have_room_for() -> None:
    draw = random.Random(0)
    for size in range(0, 300, 3):
        data = draw.randbytes(size)
        assert not has_more_fields(data, scoring_pb2.ScoreRequest.DESCRIPTOR, size)


@pytest.mark.parametrize("before", [b"", b"\xa0\x06", b"\xa2\x06", b"\x12"])
def test_a_number_without_end_is_no_work(before: bytes) -> None:
    data = before + b"\xff" * 2**22
    began = time.monotonic()
    assert not has_more_fields(data, scoring_pb2.ScoreRequest.DESCRIPTOR, 2**17)
    assert time.monotonic() - began < 1  # it took an hour
