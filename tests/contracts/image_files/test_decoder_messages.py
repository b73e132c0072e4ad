from __future__ import annotations

import warnings
from collections.abc import Iterator

import cv2
import pytest

from ranksrgan.contracts.image_files import decoder_messages
from ranksrgan.contracts.images import decode_image
from tests.attacks.bombs import talkative

logging = cv2.utils.logging


@pytest.fixture
def level() -> Iterator[int]:
    before = logging.getLogLevel()
    yield before
    logging.setLogLevel(before)


@pytest.mark.parametrize("name", ["unknown.tif", "unknown_kind.tif", "unknown.png"])
def test_what_opencv_does_not_know_is_no_line_of_a_log(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert decode_image(talkative()[name]).colour.shape[:2] == (4, 4)
    assert capfd.readouterr().err == ""


def test_a_level_that_somebody_has_chosen_stays(level: int) -> None:
    for before, behind in (
        (logging.LOG_LEVEL_WARNING, logging.LOG_LEVEL_FATAL),
        (logging.LOG_LEVEL_INFO, logging.LOG_LEVEL_INFO),
        (logging.LOG_LEVEL_SILENT, logging.LOG_LEVEL_SILENT),
    ):
        logging.setLogLevel(before)
        decoder_messages.leave_out()
        assert logging.getLogLevel() == behind


def test_warnings_of_pillow_are_left_out_unless_somebody_wants_them() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        decoder_messages.leave_out()
        decode_image(talkative()["beyond.jpg"])
        assert not told
        warnings.simplefilter("always")
        decode_image(talkative()["beyond.jpg"])
        assert len(told) == 150
