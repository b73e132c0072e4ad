"""``deploy/demo_client.py``: what it says of images, small and large."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from ranksrgan.contracts.images import Picture, to_tensor, write_image
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.metrics import Bicubic, MetricCatalog
from ranksrgan.metrics.niqe import Niqe
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture

CLIENT = Path(__file__).parents[2] / "deploy" / "demo_client.py"

Ask = Callable[[Path], list[str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Iterator[Ask]:
    """Asks a service of metrics and one with a model that interpolates."""
    found = importlib.util.spec_from_file_location("demo_client", CLIENT)
    assert found is not None
    assert found.loader is not None
    client = importlib.util.module_from_spec(found)
    found.loader.exec_module(client)
    models = UpscalerCatalog({"twice": Bicubic(2)})
    with ExitStack() as running:
        metrics, srgan = (
            start_server("127.0.0.1:0", [servicer])
            for servicer in (
                ScoringServicer(MetricCatalog()),
                SuperResolutionServicer(models, upscale_picture),
            )
        )
        running.callback(metrics.stop)
        running.callback(srgan.stop)

        def ask_of(image: Path) -> list[str]:
            given = Namespace(
                metrics=metrics.address, ranker=None, srgan=srgan.address, image=image
            )
            assert client.ask(given) == 0
            return [line.partition(" in ")[0] for line in capsys.readouterr().out.splitlines()]

        yield ask_of


def test_a_large_image_is_scored_where_it_is_enlarged(ask: Ask, tmp_path: Path) -> None:
    pixels = np.ascontiguousarray(data.astronaut()[:, :300])
    write_image(tmp_path / "photo.png", Picture(pixels))
    part = to_tensor(Picture(np.ascontiguousarray(pixels[128:384, 22:278])))
    before = Niqe().score(part).item()
    after = Niqe().score((Bicubic(2).upscale(part / 255)).clamp(0, 1)).item()
    assert ask(tmp_path / "photo.png") == [
        "photo.png: 300 x 512 pixels",
        "only its middle of 256 x 256 pixels is scored and enlarged",
        f"  niqe {before:.4f} (lower is better)",
        "twice: 256 x 256 enlarged to 512 x 512",
        f"  niqe {after:.4f} (lower is better)",
    ]


def test_a_small_image_is_whole(ask: Ask, tmp_path: Path) -> None:
    write_image(tmp_path / "dot.png", Picture(np.zeros((16, 20, 3), np.uint8)))
    first, *_, model, _ = ask(tmp_path / "dot.png")
    assert first == "dot.png: 20 x 16 pixels"
    assert model == "twice: 20 x 16 enlarged to 40 x 32"
