"""What holds for every full-reference metric alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.dists import Dists
from ranksrgan.metrics.fsim import Fsim, Fsimc
from ranksrgan.metrics.full_reference import (
    FullReferenceScorer,
    LumaScorer,
    channel_pairs,
    plane_mean,
)
from ranksrgan.metrics.gmsd import Gmsd
from ranksrgan.metrics.lpips import Lpips
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.ms_ssim import MsSsim
from ranksrgan.metrics.psnr import Psnr
from ranksrgan.metrics.rmse import Rmse
from ranksrgan.metrics.ssim import Ssim
from ranksrgan.metrics.vif import Vif
from ranksrgan.metrics.vifp import Vifp

Make = partial[FullReferenceScorer]

CLASSICAL: list[Make] = [
    partial(Psnr),
    partial(Psnr, luma="rgb"),
    partial(Ssim, luma="gray"),
    partial(Ssim, luma="rgb"),
    partial(Rmse),
    partial(Rmse, luma="rgb"),
    partial(MsSsim),
    partial(MsSsim, luma="gray", pooling="sum"),
    partial(Gmsd),
    partial(Fsim),
    partial(Fsimc),
    partial(Vif),
    partial(Vifp),
]
NETWORKS: list[Make] = [
    partial(Lpips),
    partial(Lpips, net="squeeze"),
    partial(Lpips, net="vgg"),
    partial(Dists),
]
ALONE: list[Make] = [
    partial(scorer)
    for scorer in (Psnr, Ssim, Rmse, MsSsim, Gmsd, Fsim, Fsimc, Vif, Vifp, Lpips, Dists)
]


def name(make: Make) -> str:
    options = "&".join(f"{option}={value}" for option, value in make.keywords.items())
    metric: str = make.func.metric
    return f"{metric}?{options}" if options else metric


@pytest.fixture(autouse=True)
def assets(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(random_weights))


every = pytest.mark.parametrize("make", CLASSICAL + NETWORKS, ids=name)
classical = pytest.mark.parametrize("make", CLASSICAL, ids=name)


def pictures(scorer: Scorer, count: int, channels: int = 3) -> Tensor:
    """Smooth shapes with some detail, somewhat larger than the metric's smallest image."""
    side = max(scorer.info.min_side + 5, 48)
    generator = torch.Generator().manual_seed(1)
    shapes = torch.rand(count, channels, 7, 8, generator=generator)
    shapes = F.interpolate(shapes, (side, side + 3), mode="bicubic")
    return (shapes + 0.1 * torch.randn(shapes.shape, generator=generator)).clamp(0, 1)


def worsened(images: Tensor, strength: float) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return (images + strength * torch.randn(images.shape, generator=generator)).clamp(0, 1)


@every
def test_it_is_a_scorer_that_states_its_facts(make: Make) -> None:
    scorer = make()
    assert isinstance(scorer, Scorer)
    assert scorer.info.needs_reference
    assert scorer.info.name == name(make)
    references = pictures(scorer, 2)
    scores = scorer.score(worsened(references, 0.2), references)
    assert scores.dtype == torch.float64
    assert scores.shape == (2,)
    assert bool((scores >= scorer.info.lowest).all())
    assert bool((scores <= scorer.info.highest).all())


@every
def test_equal_images_score_best(make: Make) -> None:
    scorer = make()
    images = pictures(scorer, 1)
    best = (
        1.0
        if scorer.metric in ("vif", "vifp")
        else (scorer.info.highest if scorer.info.higher_is_better else scorer.info.lowest)
    )
    assert float(scorer.score(images, images)) == pytest.approx(best, abs=1e-15)


@every
def test_more_noise_is_worse(make: Make) -> None:
    scorer = make()
    references = pictures(scorer, 1)
    scores = [
        float(scorer.score(worsened(references, strength), references))
        for strength in (0, 0.02, 0.1, 0.4)
    ]
    assert scores == sorted(scores, reverse=scorer.info.higher_is_better)
    assert len(set(scores)) == 4


@every
def test_image_and_reference_may_be_exchanged_except_for_vif(
    make: Make,
) -> None:
    scorer = make()
    references = pictures(scorer, 2)
    images = worsened(references, 0.2)
    exchanged = torch.equal(scorer.score(images, references), scorer.score(references, images))
    assert exchanged == (scorer.metric not in ("vif", "vifp"))


@every
def test_batch_shuffled_batch_and_single_calls_agree_to_the_bit(
    make: Make,
) -> None:
    scorer = make()
    references = pictures(scorer, 3)
    images = worsened(references, 0.1)
    scores = scorer.score(images, references)
    alone = torch.cat(
        [scorer.score(x[None], y[None]) for x, y in zip(images, references, strict=True)]
    )
    assert torch.equal(scores, alone)
    order = [2, 0, 1]
    assert torch.equal(scorer.score(images[order], references[order]), scores[order])
    assert len(set(scores.tolist())) == 3


@classical
def test_the_number_of_threads_does_not_matter(make: Make) -> None:
    scorer = make()
    references = F.interpolate(pictures(scorer, 1), (180, 190))  # large enough to be divided
    images = worsened(references, 0.1)
    threads = torch.get_num_threads()
    try:
        scores = []
        for number in (1, 2):
            torch.set_num_threads(number)
            scores.append(scorer.score(images, references))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*scores)


@pytest.mark.cuda
@classical
def test_cuda_equals_cpu(make: Make) -> None:
    scorer = make()
    references = pictures(scorer, 2)
    images = worsened(references, 0.1)
    scores = scorer.score(images.cuda(), references)
    assert scores.is_cuda
    assert scores.tolist() == pytest.approx(scorer.score(images, references).tolist(), rel=1e-9)


@every
def test_the_border_is_not_looked_at(make: Make) -> None:
    plain, bordered = make(), make(border=4)
    references = pictures(plain, 1)
    images = worsened(references, 0.1)
    framed = [
        F.pad(batch, (4, 4, 4, 4), value=value)
        for batch, value in ((images, 0.0), (references, 1.0))
    ]
    assert torch.equal(bordered.score(*framed), plain.score(images, references))


@every
def test_layout_and_type_do_not_matter(make: Make) -> None:
    scorer = make()
    references = (pictures(scorer, 2) * 255).round().byte()
    images = (worsened(references / 255, 0.1) * 255).round().byte()
    scores = scorer.score(images, references)
    assert torch.equal(scorer.score(images.float() / 255, references), scores)
    turned = [
        batch.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for batch in (images, references)
    ]
    assert torch.equal(scorer.score(*turned), scores)


@every
def test_grey_images(make: Make) -> None:
    scorer = make()
    references = pictures(scorer, 1, channels=1)
    images = worsened(references, 0.1)
    grey = float(scorer.score(images, references))
    tripled = float(scorer.score(images.expand(-1, 3, -1, -1), references.expand(-1, 3, -1, -1)))
    # Grey is its own luma, 0 to 255; the y of three equal channels is 16 to 235.
    by_y = isinstance(scorer, LumaScorer) and "luma" not in make.keywords
    assert tripled == pytest.approx(grey, rel=0.2 if by_y else 1e-3)


@every
def test_the_smallest_image(make: Make) -> None:
    scorer = make()
    side = scorer.info.min_side
    references = pictures(scorer, 1)[:, :, :side, : side + 1]
    images = worsened(references, 0.05)
    assert bool(scorer.score(images, references).isfinite().all())
    if side > 1:
        with pytest.raises(ImageTooSmall, match=str(side)):
            scorer.score(images[:, :, : side - 1], references[:, :, : side - 1])


@every
def test_what_is_wrong_with_a_pair(make: Make) -> None:
    scorer = make()
    images = pictures(scorer, 2)
    with pytest.raises(InvalidInput, match=f"{scorer.metric} needs references"):
        scorer.score(images)
    for other in (images[:1], images[..., 1:], images[:, :1]):
        with pytest.raises(InvalidInput, match="same size") as caught:
            scorer.score(images, other)
        assert caught.value.field == "references"
    for bad in (images * 100, images * torch.nan, images.int()):
        with pytest.raises(InvalidInput, match=r"^images (holds|is of type)") as caught:
            scorer.score(bad, images)
        assert caught.value.field == "images"
        with pytest.raises(InvalidInput, match="references") as caught:
            scorer.score(images, bad)
        assert caught.value.field == "references"
    with pytest.raises(InvalidInput, match="shape"):
        scorer.score(images[:, :2], images[:, :2])
    with pytest.raises(InvalidInput, match="shape"):
        scorer.score(images[:0], images[:0])


@pytest.mark.parametrize("make", ALONE, ids=name)
def test_a_border_widens_the_smallest_side_and_joins_the_name(make: Make) -> None:
    scorer = make(border=4)
    assert scorer.info.name == f"{scorer.metric}?border=4"
    assert scorer.info.min_side == make().info.min_side + 8
    for border in (-1, 1.5):
        with pytest.raises(InvalidInput, match="border"):
            make(border=border)


@pytest.mark.parametrize("make", [MsSsim, Gmsd, Vif, Vifp])
def test_most_metrics_have_two_lumas(make: type[LumaScorer]) -> None:
    assert make(luma="gray").info.name == f"{make.metric}?luma=gray"
    for luma_name in ("rgb", "Y"):
        with pytest.raises(InvalidInput, match=f"{luma_name!r}: it is one of y, gray$"):
            make(luma=luma_name)


@pytest.mark.parametrize("make", [Psnr, Ssim, Rmse])
def test_some_also_compare_all_channels(make: type[LumaScorer]) -> None:
    assert make(border=2, luma="rgb").info.name == f"{make.metric}?border=2&luma=rgb"
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(InvalidInput, match="'red': it is one of y, gray, rgb"):
        make(luma="red")
    with pytest.raises(InvalidInput, match="'red': it is one of y, gray, rgb"):
        make.measure(images, images, 0, "red")


def test_channel_pairs() -> None:
    images = torch.randint(0, 256, (2, 3, 9, 8), dtype=torch.uint8)
    ((x, y), _) = channel_pairs(images, images.flip(0), 1, "rgb", rounded=False)
    assert torch.equal(x, images[0, :, 1:-1, 1:-1].double())
    assert torch.equal(y, images[1, :, 1:-1, 1:-1].double())
    ((x, _), _) = channel_pairs(images / 255, images, 1, "y", rounded=False)
    assert torch.equal(x, luma(images, rounded=False)[:1, 1:-1, 1:-1])


def test_plane_mean_of_each_channel() -> None:
    planes = torch.rand(3, 5, 7, dtype=torch.float64)
    assert torch.equal(plane_mean(planes), torch.stack([plane_mean(plane) for plane in planes]))
    assert plane_mean(planes[0]).item() == pytest.approx(planes[0].mean().item(), rel=1e-14)
