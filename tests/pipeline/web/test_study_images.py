"""Images that are not those that people have voted on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ranksrgan.pipeline.web.study import Pair, Study, open_study
from ranksrgan.pipeline.web.study_api import StudyApi
from ranksrgan.pipeline.web.vote_book import VoteBook

KEPT = (
    "The votes are kept, and count as before; for votes on other images open them under another "
    "name"
)


def start(folder: Path, book: VoteBook, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says when the study is opened."""
    caplog.clear()
    StudyApi({"faces": open_study("faces", folder)}, book)
    return [record.getMessage() for record in caplog.records]


def test_replaced_and_missing_images_are_told_at_each_start(
    study: Study, study_folder: Path, book: VoteBook, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(study_folder, book, caplog) == []
    pair = Pair("cat", "sharp", "soft")
    book.record("faces", "Ada", study.showing("Ada", pair), "left", 10)
    before = book.ballots("faces")
    assert start(study_folder, book, caplog) == []
    cat = study_folder / "cat"
    original = (cat / "sharp.png").read_bytes()
    shutil.copy(study_folder / "cup" / "sharp.png", cat / "sharp.png")
    shutil.copy(study_folder / "cup" / "noisy.png", cat / "noisy.png")  # nobody voted on it
    (cat / "soft.png").rename(cat / "softer.png")
    for _ in range(2):
        assert start(study_folder, book, caplog) == [
            "study faces: 1 of 2 images that have votes are OTHER FILES than those that people "
            f"voted on: cat/sharp. {KEPT}",
            "study faces: 1 of 2 images that have votes are NOT THERE any more: cat/soft. " + KEPT,
        ]
    assert book.ballots("faces") == before
    (cat / "sharp.png").write_bytes(original)
    (cat / "softer.png").rename(cat / "soft.png")
    assert start(study_folder, book, caplog) == []
    # Now that nobody's vote is on it, it is as good as any other.
    book.undo("faces", "Ada", 1)
    shutil.copy(study_folder / "cup" / "sharp.png", cat / "sharp.png")
    assert start(study_folder, book, caplog) == []
    book.record("faces", "Ada", study.showing("Ada", pair), "left", 10)
    assert start(study_folder, book, caplog) == []


def test_other_studies_are_others(
    study: Study, study_folder: Path, book: VoteBook, caplog: pytest.LogCaptureFixture
) -> None:
    start(study_folder, book, caplog)
    book.record("faces", "Ada", study.ahead("Ada", ())[0], "left", 10)
    shutil.rmtree(study_folder / "cat")
    StudyApi({"other": open_study("other", study_folder)}, book)
    assert caplog.records == []
