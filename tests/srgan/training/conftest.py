from __future__ import annotations

from pathlib import Path

import pytest

from tests.srgan.pictures import write_waves


@pytest.fixture
def hr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures, elsewhere than in the test's folder: that is refused with images in it."""
    folder = tmp_path_factory.mktemp("images") / "hr"
    write_waves(folder, 4)
    return folder
