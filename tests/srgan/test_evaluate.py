from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts import UpscalerInfo, open_upscaler
from ranksrgan.contracts.errors import InvalidImage, InvalidInput
from ranksrgan.contracts.images import (
    Picture,
    as_float,
    from_tensor,
    read_image,
    to_tensor,
    write_image,
)
from ranksrgan.metrics import imresize_uint8, niqe, psnr, ssim
from ranksrgan.srgan.evaluate import evaluate


def test_scores_are_those_of_the_rounded_result(hr_folder: Path, toy_ranker) -> None:
    ranker = toy_ranker()
    upscaler = open_upscaler("bicubic?scale=4")
    evaluation = evaluate(upscaler, hr_folder, 4, 4, {"ranker": ranker})
    assert [row.image for row in evaluation.images] == ["0.png", "1.png", "2.png", "3.png"]
    hr = to_tensor(read_image(hr_folder / "1.png"))[:, :, :100, :108]
    sr = upscaler.upscale(as_float(imresize_uint8(hr, 1 / 4)))
    shown = to_tensor(from_tensor(sr[0]))  # halves of a level as in a file that is written
    scores = evaluation.images[1].scores
    assert scores["psnr"] == psnr(shown, hr, border=4).item()
    assert scores["ssim"] == ssim(shown, hr, border=4).item()
    assert scores["ranker"] == pytest.approx(ranker.score(shown).item(), rel=1e-6)
    values = [row.scores["psnr"] for row in evaluation.images]
    assert evaluation.mean("psnr") == pytest.approx(np.mean(values))


def test_images_too_small_for_niqe_are_dropped_and_counted(hr_folder: Path) -> None:
    evaluation = evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 4, 4)
    assert evaluation.mean("niqe") is None
    assert evaluation.dropped("niqe") == 4
    assert evaluation.dropped("psnr") == 0


def test_a_picture_equal_to_its_original_is_not_the_mean_of_all(hr_folder: Path) -> None:
    """The PSNR of one is infinite, and so would be the mean, which nothing could be better than."""
    before = evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 4, 4)
    write_image(hr_folder / "black.png", Picture(np.zeros((48, 48, 3), np.uint8)))
    evaluation = evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 4, 4)
    assert evaluation.images[-1].scores["psnr"] is None
    assert evaluation.images[-1].scores["ssim"] == pytest.approx(1)
    assert evaluation.mean("psnr") == before.mean("psnr")
    assert evaluation.dropped("psnr") == 1


def test_a_score_that_is_nan_is_not_the_mean_of_all(
    hr_folder: Path, toy_ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = toy_ranker(0)
    values = iter([torch.nan, 1.0, 2.0, 6.0])
    monkeypatch.setattr(scorer, "score", lambda images, _=None: torch.tensor([next(values)]))
    evaluation = evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 4, 4, {"mine": scorer})
    assert evaluation.images[0].scores["mine"] is None
    assert evaluation.mean("mine") == 3
    assert evaluation.dropped("mine") == 1


def test_bicubic_on_a_photograph(shared_data: Path, tmp_path: Path) -> None:
    butterfly = next((shared_data / "images" / "set5").glob("*butterfly*"))
    (tmp_path / butterfly.name).write_bytes(butterfly.read_bytes())
    evaluation = evaluate(open_upscaler("bicubic?scale=4"), tmp_path, 4, 4)
    assert evaluation.mean("psnr") == pytest.approx(22.10, abs=0.02)  # as every table of x4 has it
    hr = to_tensor(read_image(butterfly))
    sr = open_upscaler("bicubic?scale=4").upscale(as_float(imresize_uint8(hr, 1 / 4)))
    expected = niqe(sr.mul(255).round().byte(), border=4).item()
    assert evaluation.mean("niqe") == expected


@pytest.mark.parametrize("name", ["psnr", "ssim", "niqe"])
def test_a_name_that_is_taken_is_refused(hr_folder: Path, toy_ranker, name: str) -> None:
    scorers = {"mine": toy_ranker(1), name: toy_ranker(2)}
    with pytest.raises(InvalidInput, match=f"toy2 is given as {name}, which") as caught:
        evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 4, 4, scorers)
    assert caught.value.field == "scorers"
    assert caught.value.message.endswith("give it another name than psnr, ssim, niqe")


def test_a_scorer_that_returns_no_score_for_each_image_is_refused(
    hr_folder: Path, toy_ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = toy_ranker(0)
    monkeypatch.setattr(scorer, "score", lambda images, references=None: torch.zeros(1, 1))
    with pytest.raises(InvalidInput, match=r"scorer toy0 returned the shape \(1, 1\); .* \(1,\)"):
        evaluate(open_upscaler("bicubic?scale=2"), hr_folder, 2, 2, {"mine": scorer})


def test_an_image_that_cannot_be_read_is_told_before_any_work(
    hr_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hr_folder / "z.png").write_bytes((hr_folder / "0.png").read_bytes()[:-200])
    upscaler = open_upscaler("bicubic?scale=4")
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(upscaler, "upscale", asked.append)
    with pytest.raises(InvalidImage, match=r"z\.png"):
        evaluate(upscaler, hr_folder, 4, 4)
    assert not asked


def test_another_scale_is_refused(hr_folder: Path) -> None:
    with pytest.raises(InvalidInput, match="enlarges 4 times; 2 times is wanted"):
        evaluate(open_upscaler("bicubic?scale=4"), hr_folder, 2, 2)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_upscaler_that_counts_to_255_is_refused(hr_folder: Path, dtype: torch.dtype) -> None:
    class Counting:
        info = UpscalerInfo("counting", "1", 4, "toy")

        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            return (images * 255).repeat_interleave(4, 2).repeat_interleave(4, 3).to(dtype)

    with pytest.raises(InvalidInput, match=r"counting returned .* for 0\.png; a torch\.Tensor"):
        evaluate(Counting(), hr_folder, 4, 4, {})
