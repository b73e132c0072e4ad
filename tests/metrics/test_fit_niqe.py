from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.fit_niqe import fit_niqe
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.niqe import niqe, niqe_features
from ranksrgan.metrics.niqe_model import NiqeModel

Load = Callable[[str], Tensor]


@pytest.fixture
def photographs(photograph: Load) -> list[Tensor]:
    names = ["astronaut", "coffee", "chelsea", "camera", "rocket", "brick", "grass", "gravel"]
    return [photograph(name)[0] for name in names]


def sharp_blocks(image: Tensor) -> np.ndarray:
    """Which blocks count, from the definition with a full window."""
    plane = luma(image[None], "gray")[0].numpy()
    rows, columns = plane.shape[0] // 96, plane.shape[1] // 96
    plane = plane[: rows * 96, : columns * 96]
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = correlate(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(correlate(plane**2, window, mode="nearest") - mean**2))
    sharpness = deviation.reshape(rows, 96, columns, 96).mean((1, 3)).ravel()
    return sharpness > 0.75 * sharpness.max()


def test_it_is_the_gaussian_of_the_sharp_blocks(photographs: list[Tensor]) -> None:
    kept = [
        niqe_features(image[None], luma="gray")[0].numpy()[sharp_blocks(image)]
        for image in photographs
    ]
    features = np.concatenate(kept)
    assert 40 < len(features) < sum(niqe_features(x[None]).shape[1] for x in photographs)
    model = fit_niqe(photographs)
    np.testing.assert_allclose(model.mean.numpy(), np.nanmean(features, axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        model.covariance.numpy(), np.cov(features, rowvar=False), rtol=1e-9, atol=1e-12
    )


def test_images_that_it_was_fitted_to_are_near_it(photographs: list[Tensor]) -> None:
    model = fit_niqe(photographs)
    noise = torch.rand(1, 1, 192, 288)
    scores = [float(niqe(image[None], luma="gray", model=model)) for image in photographs]
    assert max(scores) < float(niqe(noise, model=model))


def test_a_folder_its_files_and_its_images_give_the_same_bits(
    photographs: list[Tensor], tmp_path: Path
) -> None:
    for number, image in enumerate(photographs):
        pixels = image.permute(1, 2, 0).numpy()
        Image.fromarray(pixels.squeeze()).save(tmp_path / f"{number}.png")
    model = fit_niqe(tmp_path)
    assert fit_niqe(str(tmp_path)).sha256 == model.sha256  # type: ignore[arg-type]
    assert fit_niqe(tmp_path / f"{k}.png" for k in range(8)).sha256 == model.sha256
    assert fit_niqe(photographs).sha256 == model.sha256
    assert fit_niqe([image / 255 for image in photographs]).sha256 == model.sha256


def test_the_number_of_threads_does_not_matter(photographs: list[Tensor]) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fit_niqe(photographs)
        torch.set_num_threads(3)
        assert fit_niqe(photographs).sha256 == alone.sha256
    finally:
        torch.set_num_threads(threads)


def test_the_luma_is_chosen(photographs: list[Tensor]) -> None:
    assert fit_niqe(photographs, luma="y").sha256 != fit_niqe(photographs).sha256
    with pytest.raises(InvalidInput, match="no luma 'Y'"):
        fit_niqe(photographs, luma="Y")  # type: ignore[arg-type]


def test_a_flat_image_adds_nothing(photographs: list[Tensor]) -> None:
    flat = torch.full((3, 192, 192), 99, dtype=torch.uint8)
    with_flat, alone = fit_niqe([*photographs, flat]), fit_niqe(photographs)
    assert torch.equal(with_flat.covariance, alone.covariance)
    assert isinstance(with_flat, NiqeModel)


def test_too_few_blocks(photographs: list[Tensor]) -> None:
    with pytest.raises(InvalidInput, match=r"1 images have \d+ sharp blocks of 96 x 96 .* than 36"):
        fit_niqe(photographs[:1])
    with pytest.raises(InvalidInput, match="0 images have 0 sharp blocks"):
        fit_niqe([])


def test_images_that_cannot_be_used(photographs: list[Tensor], tmp_path: Path) -> None:
    small = photographs[0][:, :95]
    with pytest.raises(
        ImageTooSmall, match=r"images\[1\]: 95 x 512 pixels hold no block"
    ) as caught:
        fit_niqe([photographs[0], small])
    assert caught.value.field == "images[1]"
    with pytest.raises(InvalidInput, match=r"images\[0\] holds values from 0 to 255"):
        fit_niqe([photographs[0].float()])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"broken\.png is not a PNG"):
        fit_niqe(tmp_path)
    with pytest.raises(InvalidInput, match="is not a folder"):
        fit_niqe(tmp_path / "nowhere")
