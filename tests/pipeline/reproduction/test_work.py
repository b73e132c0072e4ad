from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, list_images, write_image
from ranksrgan.pipeline.reproduction.units import Units
from ranksrgan.pipeline.reproduction.work import do_unit


def test_images_of_several_folders_are_together_and_none_is_lost(tmp_path: Path) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    for name in ("a/1", "a/2", "b/3"):
        write_image(data / f"{name}.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    config = {"folders": ["@data/a", "@data/b"]}
    folder = Units(data).add("images", "", config).prepare(runs)
    assert do_unit(folder, data) == 0
    assert [path.name for path in list_images(folder / "images")] == ["1.png", "2.png", "3.png"]

    write_image(data / "b" / "2.png", Picture(np.ones((4, 4, 3), np.uint8)))
    folder = Units(data).add("images", "", config).prepare(runs)
    with pytest.raises(InvalidInput, match=r"a/2\.png and .*b/2\.png have one name") as caught:
        do_unit(folder, data)
    assert caught.value.field == "training"
