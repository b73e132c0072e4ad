from __future__ import annotations

import hashlib
import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import Scorer, cancellation
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    RequestCancelled,
    UndefinedScore,
)
from ranksrgan.metrics import (
    Niqe,
    NiqeModel,
    differentiable_niqe,
    imresize,
    mscn,
    niqe,
    niqe_features,
)

Load = Callable[[str], Tensor]


@pytest.fixture(scope="module")
def references(shared_data: Path) -> dict[str, Any]:
    text = (shared_data / "testvec" / "niqe_reference.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def images_of_the_reference() -> list[str]:
    photographs = ["astronaut", "coffee", "chelsea", "rocket", "camera", "moon"]
    return [*photographs, "brick", "grass", "gravel", "I03", "I04", "I06", "baboon_basicsr"]


@pytest.mark.parametrize("name", images_of_the_reference())
def test_reference_scores(
    name: str,
    references: dict[str, Any],
    shared_data: Path,
    photograph: Load,
    image_file: Callable[[Path], Tensor],
) -> None:
    source = references["images"][name]["source"]
    if source.startswith("skimage"):
        image = photograph(name)
        pixels = image[0].permute(1, 2, 0).contiguous().numpy().tobytes()
        expected_hash = references["images"][name]["sha256_of_uint8_array_bytes"]
        if hashlib.sha256(pixels).hexdigest() != expected_hash:
            pytest.skip("this scikit-image or JPEG decoder gives other pixels")
    else:
        image = image_file(shared_data / "testvec" / source.split(" ")[0])
    rows = [row for row in references["rows"] if row["image"] == name]
    assert rows
    for row in rows:
        luma = "y" if row["luma"] == "gray-in" else row["luma"]
        score = float(niqe(image, border=row["crop"], luma=luma))
        assert score == pytest.approx(row["float64_snap"], abs=1e-10), row
        if row["matlab"] is not None and row["flat_fraction"] == 0:
            assert score == pytest.approx(row["matlab"], abs=1e-4)


def test_checkpoints_of_camera(photograph: Load) -> None:
    camera = photograph("camera")
    plane = camera[0, :, :480, :480].double()
    full = mscn(plane).normalised
    half = mscn(imresize(plane, 0.5)).normalised
    assert float(full.sum()) == pytest.approx(-414.15931259, abs=1e-6)
    assert float(full.abs().sum()) == pytest.approx(91964.45730821, abs=1e-6)
    assert float(half.sum()) == pytest.approx(-9.21184721, abs=1e-6)
    assert float(half.abs().sum()) == pytest.approx(20725.57265385, abs=1e-6)
    features = niqe_features(camera)
    assert features.shape == (1, 25, 36)
    mean = features[0].mean(dim=0)
    full_scale = [2.2378, 0.7347523, 0.73944, 0.00917737, 0.11741442, 0.11858821]
    half_scale = [2.26416, 0.65206442, 0.71196, 0.04954194, 0.09677964, 0.12758575]
    assert mean[:6].tolist() == pytest.approx(full_scale, abs=1e-7)
    assert mean[18:24].tolist() == pytest.approx(half_scale, abs=1e-7)


def test_the_distance_is_the_papers_with_pinv(photograph: Load) -> None:
    image = photograph("chelsea")
    features = niqe_features(image)[0].numpy()
    model = NiqeModel.published()
    difference = model.mean.numpy() - features.mean(axis=0)
    pooled = (model.covariance.numpy() + np.cov(features, rowvar=False)) / 2
    expected = math.sqrt(difference @ np.linalg.pinv(pooled) @ difference)
    assert float(niqe(image)) == pytest.approx(expected, rel=1e-9)


def test_another_model_changes_score_and_hash() -> None:
    published = NiqeModel.published()
    other = NiqeModel(published.mean + 1, published.covariance)
    image = torch.rand(1, 1, 96, 192)
    assert float(niqe(image, model=other)) != float(niqe(image))
    assert Niqe(model=other).info.parameters_hash != Niqe().info.parameters_hash


def test_uint8_and_float_of_the_same_pixels_agree(photograph: Load) -> None:
    image = photograph("chelsea")[..., :200, :200]
    score = niqe(image)
    assert torch.equal(niqe(image.float() / 255), score)
    assert torch.equal(niqe(image.double() / 255), score)
    assert score.dtype == torch.float64


def test_gray_in_three_channels_is_its_own_gray_luma(photograph: Load) -> None:
    image = photograph("camera")[..., :192, :192]
    assert torch.equal(niqe(image.expand(-1, 3, -1, -1), luma="gray"), niqe(image))


def test_border_is_a_crop_after_the_luma(photograph: Load) -> None:
    image = photograph("coffee")[..., :208, :208]
    assert torch.equal(niqe(image, border=4), niqe(image[..., 4:-4, 4:-4]))


def test_what_does_not_fill_a_block_is_not_seen(photograph: Load) -> None:
    image = photograph("coffee")[..., :192, :192]
    padded = torch.nn.functional.pad(image, (0, 95, 0, 95), value=77)
    assert torch.equal(niqe(padded), niqe(image))


def test_batch_shuffled_batch_and_single_calls_agree_to_the_bit(photograph: Load) -> None:
    image = photograph("astronaut")
    crops = torch.cat([image[..., y : y + 192, x : x + 288] for y in (0, 90) for x in (0, 151)])
    together = niqe(crops, border=0)
    alone = torch.cat([niqe(crop[None]) for crop in crops])
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(together, alone)
    assert torch.equal(niqe(crops[order]), together[order])


def test_the_number_of_threads_does_not_matter(photograph: Load) -> None:
    image = photograph("astronaut")
    threads = torch.get_num_threads()
    try:
        scores = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            scores.append(niqe(image))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


def test_a_sequence_of_unequal_images(photograph: Load) -> None:
    images = [
        photograph("astronaut")[0, :, :192, :300],
        photograph("camera")[0, :, 100:200, 50:400],
        photograph("coffee")[0].float() / 255,
        photograph("chelsea")[0].double() / 255,
    ]
    scores = niqe(images, border=2, luma="gray")
    assert scores.shape == (4,)
    assert torch.equal(scores, torch.cat([niqe(image[None], 2, "gray") for image in images]))
    assert torch.equal(niqe(tuple(reversed(images)), 2, "gray"), scores.flip(0))


def test_sequences_that_cannot_be_scored(photograph: Load) -> None:
    good = photograph("chelsea")[0]
    with pytest.raises(InvalidInput, match="empty"):
        niqe([])
    with pytest.raises(InvalidInput, match=r"images\[1\] has the shape \(1, 1, 3,") as caught:
        niqe([good, good[None]])
    assert caught.value.field == "images[1]"
    with pytest.raises(InvalidInput, match=r"images\[1\] is a numpy\.ndarray; .* \(C, H, W\) is"):
        niqe([good, good.numpy()])
    with pytest.raises(InvalidInput, match=r"images\[1\] holds values from 0"):
        niqe([good, good.float()])
    with pytest.raises(ImageTooSmall, match="95 x 451 pixels hold 0 blocks") as too_small:
        niqe([good, good, good[:, :95]])
    assert too_small.value.field == "images[2]"
    with pytest.raises(UndefinedScore, match="image 2 is too flat for NIQE: only 0 of its 12"):
        niqe([good, good[:, :96, :192], torch.full((3, 300, 451), 7, dtype=torch.uint8), good])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("photo.png", r"images is a builtins\.str; .* \(N, C, H, W\) .* of a file .*read_image"),
        (Path("photo.png"), r"images is a pathlib\.\w+; .* \(N, C, H, W\) .* of a file"),
        (b"photo", r"images is a builtins\.bytes; .* \(N, C, H, W\) .* of an array"),
        (["photo.png"], r"images\[0\] is a builtins\.str; .* \(C, H, W\) .*\(path\)\)\[0\]$"),
        ([7], r"images\[0\] is a builtins\.int; .* \(C, H, W\) .*permute\(2, 0, 1\)$"),
    ],
)
def test_what_are_no_tensors_is_said(images: Any, message: str) -> None:
    for measure in (niqe, differentiable_niqe):
        with pytest.raises(InvalidInput, match=message):
            measure(images)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "rocket", "brick"])
def test_fast_scores_are_close(photograph: Load, name: str) -> None:
    image = photograph(name)
    exact, fast = niqe(image), niqe(image, fast=True)
    assert float(fast) == pytest.approx(float(exact), abs=2e-4)
    assert not torch.equal(fast, exact)


def test_a_batch_on_more_threads_than_images_and_fewer(photograph: Load) -> None:
    image = photograph("coffee")
    crops = torch.cat(
        [image[..., y : y + 200, x : x + 200] for y in (0, 190) for x in (0, 150, 400)]
    )
    alone = torch.cat([niqe(crop[None]) for crop in crops])
    threads = torch.get_num_threads()
    try:
        for number in (1, 4, 5, 9):
            torch.set_num_threads(number)
            assert torch.equal(niqe(crops), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (95, 500), (96, 191), (10, 10), (1, 1)])
def test_fewer_than_two_blocks(height: int, width: int) -> None:
    with pytest.raises(ImageTooSmall):
        niqe(torch.rand(1, 3, height, width))


def test_two_blocks_are_enough_and_the_border_counts() -> None:
    image = torch.rand(1, 3, 96, 192)
    assert math.isfinite(niqe(image))
    with pytest.raises(ImageTooSmall):
        niqe(image, border=1)


def noise_then_flat(blocks: int) -> Tensor:
    """A row of blocks, the last one flat; the noise ends early enough to be out of its sight."""
    image = torch.full((1, 1, 96, 96 * blocks), 0.5, dtype=torch.float64)
    image[..., : 96 * (blocks - 1) - 16] = torch.rand(96, 96 * (blocks - 1) - 16)
    return image


def test_flat_images_have_no_score() -> None:
    with pytest.raises(UndefinedScore, match="flat"):
        niqe(torch.full((1, 3, 192, 192), 0.5))
    with pytest.raises(UndefinedScore, match="1 of its 2 blocks"):
        niqe(noise_then_flat(blocks=2))


def test_a_flat_block_counts_in_the_mean_and_not_in_the_covariance() -> None:
    image = noise_then_flat(blocks=4)
    features = niqe_features(image)[0].numpy()
    assert np.isfinite(features[:3]).all()
    assert np.isnan(features[3]).any()
    model = NiqeModel.published()
    mean = np.nanmean(features, axis=0)
    assert mean[0] == pytest.approx((features[:3, 0].sum() + 0.2) / 4)
    difference = model.mean.numpy() - mean
    pooled = (model.covariance.numpy() + np.cov(features[:3], rowvar=False)) / 2
    expected = math.sqrt(difference @ np.linalg.inv(pooled) @ difference)
    assert float(niqe(image)) == pytest.approx(expected, rel=1e-9)


def test_features_of_a_constant_block_follow_the_nan_rules() -> None:
    image = torch.full((1, 1, 96, 192), 0.5)
    features = niqe_features(image)[0]
    shapes = [0, 2, 6, 10, 14]
    shapes += [18 + column for column in shapes]
    assert features[:, shapes].tolist() == [[0.2] * 10] * 2
    others = [column for column in range(36) if column not in shapes]
    assert bool(features[:, others].isnan().all())


def test_scorer() -> None:
    scorer = Niqe(border=4, luma="gray")
    assert isinstance(scorer, Scorer)
    info = scorer.info
    assert info.name == "niqe?border=4&luma=gray"
    assert not info.higher_is_better
    assert not info.needs_reference
    assert info.min_side == 104
    assert len(info.parameters_hash) == 64
    image = torch.rand(1, 3, 110, 210)
    assert torch.equal(scorer.score(image), niqe(image, 4, "gray"))
    with pytest.raises(InvalidInput, match="references"):
        scorer.score(image, image)
    with pytest.raises(InvalidInput):
        Niqe(border=-1)
    with pytest.raises(InvalidInput):
        Niqe(luma="Y")  # type: ignore[arg-type]


def test_it_stops_between_images_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("ranksrgan.metrics.nss_features")  # not the function
    monkeypatch.setattr(module, "_PIXELS_TOGETHER", 96 * 192)
    answers = iter([True, False])
    with cancellation.scope(lambda: next(answers)), pytest.raises(RequestCancelled):
        niqe(torch.rand(3, 1, 96, 192))
    assert next(answers, None) is None


def test_images_that_want_gradients_are_scored_without() -> None:
    assert not niqe(torch.rand(1, 3, 96, 192, requires_grad=True)).requires_grad


# Each in a process that has imported no more than what takes seconds.
IMPORTED_FIRST = """
import os, torch
for first in FIRST:
    child = os.fork()
    if child == 0:
        exec(first)
        exec(THEN)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, first
"""


def test_names_are_functions_whatever_is_imported_first() -> None:
    first = [
        "from ranksrgan.metrics import niqe",
        "import ranksrgan.metrics.niqe",
        "from ranksrgan.metrics.niqe import Niqe",
        "import ranksrgan.metrics.catalog",
        "import ranksrgan.metrics.cli",
    ]
    names = "niqe, psnr, ssim, rmse, imresize, mscn, patch_crops"
    then = (
        f"from ranksrgan.metrics import {names}\n"
        f"import types\nassert all(isinstance(x, types.FunctionType) for x in ({names}))\n"
        "from ranksrgan.metrics.niqe import NiqeModel, niqe as again\nassert again is niqe\n"
    )
    code = f"FIRST, THEN = {first!r}, {then!r}\n{IMPORTED_FIRST}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.cuda
def test_cuda_agrees(photograph: Load) -> None:
    image = photograph("astronaut")
    score = niqe(image.cuda())
    assert score.is_cuda
    assert float(score) == pytest.approx(float(niqe(image)), abs=1e-9)
    crops = [image[0, :, :200, :300].cuda(), image[0, :, 200:, 100:].cuda()]
    assert niqe(crops).tolist() == pytest.approx(niqe([crop.cpu() for crop in crops]).tolist())
