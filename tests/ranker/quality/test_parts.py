"""What the models are made of: deformable convolution, attention, patches, the error map."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.loss_correlation import LEAST_DEVIATION
from ranksrgan.ranker.quality import radn, wresnet
from ranksrgan.ranker.quality.deformable import ReferenceOriented, deformable_convolution
from ranksrgan.ranker.quality.macs import Macs
from ranksrgan.ranker.quality.patches import at_random, grid
from ranksrgan.ranker.quality.preference import Preference
from ranksrgan.ranker.quality.radn import RADN, PatchAttention
from ranksrgan.ranker.quality.sensitivity import Sensitivity, similarity_map
from ranksrgan.ranker.quality.sorter import Sorter, train_sorter
from ranksrgan.ranker.quality.wresnet import WResNet


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (1, 3)])
def test_radn_zero_offset_deformable_convolution_is_conv2d(height: int, width: int) -> None:
    features, layer = torch.randn(2, 3, height, width), nn.Conv2d(3, 4, 3, padding=1)
    offsets = torch.zeros(2, 18, height, width)
    found = deformable_convolution(features, offsets, *layer.parameters())
    assert (found - layer(features)).abs().max() < 1e-5


def test_offsets_of_whole_pixels_shift_what_a_tap_sees() -> None:
    features, layer = torch.randn(1, 2, 6, 7), nn.Conv2d(2, 3, 3, padding=1)
    offsets = torch.zeros(1, 9, 2, 6, 7)
    offsets[:, :, 0], offsets[:, :, 1] = 1, -2  # one down, two to the left
    found = deformable_convolution(features, offsets.flatten(1, 2), *layer.parameters())
    shifted = F.pad(features, (3, 1, 1, 2))[..., 1:, :-2]
    weight, bias = layer.parameters()
    assert torch.allclose(found, F.conv2d(shifted[..., :8, :9], weight, bias), atol=1e-5)


def test_a_deformable_convolution_has_exact_gradients() -> None:
    tensors = [
        torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True),
        (0.3 * torch.randn(1, 18, 4, 3, dtype=torch.float64) + 0.2).requires_grad_(),
        torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(2, dtype=torch.float64, requires_grad=True),
    ]
    assert torch.autograd.gradcheck(deformable_convolution, tensors, fast_mode=True)


def test_half_a_pixel_counts_in_bfloat16_too() -> None:
    """Of a place beyond 128 a bfloat16 would keep whole pixels only."""
    features, layer = torch.randn(1, 2, 4, 250), nn.Conv2d(2, 2, 3, padding=1)
    tensors = [features, torch.full((1, 18, 4, 250), 0.5), *layer.parameters()]
    halved = [tensor.detach().bfloat16() for tensor in tensors]
    found = deformable_convolution(*halved)
    assert found.dtype == torch.bfloat16
    wanted = deformable_convolution(*[tensor.float() for tensor in halved])
    # The eight bits of features and weights, and no more, are off.
    assert float((found.float() - wanted).abs().max()) < 0.03 * float(wanted.std())


@pytest.mark.parametrize("model", [WResNet, RADN])
def test_patches_go_through_the_network_some_at_a_time(
    model: type[WResNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = model(width=2).eval()
    for parameter in network.parameters():
        if not parameter.any():  # what changes nothing at first
            nn.init.normal_(parameter, std=0.1)
    images, references = torch.rand(2, 2, 3, 70, 130).unbind()
    at_once = network(images, references)
    for module in (wresnet, radn):
        monkeypatch.setattr(module, "_AT_ONCE", 4)
    seen: list[int] = []
    network.blocks[0].register_forward_hook(lambda block, given, maps: seen.append(len(maps)))
    assert torch.allclose(network(images, references), at_once, rtol=0, atol=1e-6)
    assert seen == [8] * 7 + [4]  # 2 images of 15 patches, with their references


def test_the_reference_alone_leads_both_convolutions() -> None:
    pair = ReferenceOriented(2)
    nn.init.normal_(pair.offsets.weight)
    image, reference = torch.randn(2, 1, 2, 6, 6).unbind()
    before = pair(image, reference)
    after = pair(image + torch.randn(1, 2, 6, 6), reference)
    assert torch.equal(before[1], after[1])
    # Where the image is the same, so is what comes of it: its offsets have not moved.
    assert torch.equal(pair(image, reference)[0], before[0])
    assert not torch.equal(pair(image, reference.flip(2))[0], before[0])


def test_radn_passes_on_what_a_wresnet_sees() -> None:
    """At first: the layers that a WResNet has not give back what they are given."""
    model = RADN(width=2)
    image, reference = torch.rand(2, 1, 8, 8, 8).unbind()
    for before, after in zip((image, reference), model.deformable(image, reference), strict=True):
        assert torch.allclose(before, after, atol=1e-6)
    wide = torch.rand(1, 16, 4, 4)
    assert torch.equal(model.further[0](wide), wide[..., ::2, ::2])
    assert torch.equal(model.further[1](wide), wide)


def test_radn_non_local_block_is_the_identity_at_init() -> None:
    features = torch.randn(2, 5, 8)
    block = PatchAttention(8)
    assert torch.equal(block(features), features)
    nn.init.normal_(block.out.weight)
    assert not torch.equal(block(features), features)


@pytest.mark.parametrize("model", [WResNet(width=2), RADN(width=2)])
def test_wresnet_patch_order_leaves_the_score_unchanged(model: WResNet) -> None:
    model.eval()
    patches, references = torch.rand(2, 1, 7, 3, 32, 32).unbind()
    order = torch.randperm(7)

    def pooled(patches: Tensor, references: Tensor) -> Tensor:
        scores, weights = model.of_patches(patches, references)
        return (scores * weights).sum(1) / weights.sum(1)

    found = pooled(patches[:, order], references[:, order])
    assert torch.allclose(found, pooled(patches, references), atol=1e-6)


def test_a_grid_leaves_no_pixel_out() -> None:
    images = torch.arange(2 * 3 * 70 * 96, dtype=torch.float32).reshape(2, 3, 70, 96)
    cut = grid(images, 32)
    assert cut.shape == (2, 3 * 3, 3, 32, 32)
    assert set(cut.flatten().tolist()) == set(images.flatten().tolist())
    assert torch.equal(cut[1, 4], images[1, :, 32:64, 32:64])
    assert torch.equal(cut[0, 6], images[0, :, 38:70, 0:32])


def test_random_patches_of_an_image_and_its_reference_are_of_one_place() -> None:
    images = torch.rand(2, 3, 40, 50)
    cut, same = at_random(images, images.clone(), 32, 5)
    assert cut.shape == (2, 5, 3, 32, 32)
    assert torch.equal(cut, same)
    assert len({tuple(patch.flatten().tolist()) for patch in cut[0]}) > 1


def test_si_analytics_map_values() -> None:
    differences = torch.tensor([0, 1 / 255, 0.01, 0.1, 0.5, 1], dtype=torch.float64)
    found = similarity_map(torch.zeros(6, dtype=torch.float64), differences)
    expected = torch.tensor([1.0, 0.9375, 0.8182, 0.4154, 0.1251, 0], dtype=torch.float64)
    assert torch.allclose(found, expected, atol=5e-5)


def test_si_analytics_with_constant_sensitivity_is_monotone_in_mse() -> None:
    model = Sensitivity(width=2).eval()
    nn.init.zeros_(model.out.weight)
    reference = torch.rand(1, 3, 16, 16)
    noise = torch.randn(1, 3, 16, 16)
    strengths = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.3]).view(5, 1, 1, 1)
    references = reference.expand(5, -1, -1, -1)
    scores = model(references + strengths * noise, references)
    assert torch.equal(model.sensitivity(references, references), torch.ones(5, 1, 16, 16))
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert len(set(scores.tolist())) == 5


def test_macs_scores_288_pixels_as_published_and_others_too() -> None:
    """The adaptive mean before the flattening is the identity there."""
    model = Macs(form="plain", width=8).eval()
    maps: list[Tensor] = []
    model.flat.register_forward_hook(lambda module, given, found: maps.extend([*given, found]))
    model(*torch.rand(2, 1, 3, 288, 288).unbind())
    assert maps[0].shape == (1, 2, 36, 36)
    assert torch.equal(maps[0], maps[1])
    assert model(*torch.rand(2, 1, 3, 64, 100).unbind()).shape == (1,)


def test_macs_forms_have_the_losses_that_they_were_trained_with() -> None:
    weights = {
        "plain": (0.1, 0.1),
        "norm": (0.01, 0.1),
        "attention": (1.0, 0.01),
        "tiled": (0.2, 0.1),
    }
    for form, (a, b) in weights.items():
        losses = Macs(form=form, width=8, grid=4).current_losses  # type: ignore[arg-type]
        assert losses["regression"] == a
        assert losses.get("determination", 0.0) == 1 - a
        assert losses["ranks"] == b


def test_macs_sodeep_learned_sorter() -> None:
    """After 600 steps ranks of 8 standardised values are off by less than .6 on average, at any
    scale and offset; what is as good as equal stays so."""
    sorter = train_sorter(8, 600)
    samples = torch.randn(200, 8)
    ranks = torch.from_numpy(rankdata(samples.numpy(), axis=1)).float()
    found = sorter(samples)
    assert float((found - ranks).abs().mean()) < 0.6
    assert torch.allclose(sorter(1000 * samples - 7), found, atol=1e-2)
    equal = torch.zeros(8, requires_grad=True)
    of_equal = sorter(equal)
    assert torch.allclose(sorter(1e-7 * samples), of_equal.expand(200, 8), atol=0.01)
    (slopes,) = torch.autograd.grad(of_equal[0], equal)
    assert float(slopes.abs().max()) < 8 / LEAST_DEVIATION
    assert not any(parameter.requires_grad for parameter in sorter.parameters())
    with pytest.raises(InvalidInput, match="9 scores for a sorter of 8"):
        sorter(torch.randn(9))


def test_a_sorter_is_decided_by_its_seed() -> None:
    before = torch.random.get_rng_state()
    first, second, other = train_sorter(4, 3), train_sorter(4, 3), train_sorter(4, 3, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    sample = torch.randn(4)
    assert torch.equal(first(sample), second(sample))
    assert not torch.equal(first(sample), other(sample))
    assert isinstance(first, Sorter)


def test_preference_starts_as_bradley_terry_and_turns_with_the_order() -> None:
    preference = Preference()
    a, b = torch.randn(2, 6).unbind()
    assert torch.equal(preference(a, b), a - b)
    nn.init.normal_(preference.second.weight)
    assert torch.allclose(preference(a, b), -preference(b, a), atol=1e-6)
    assert not torch.allclose(preference(a, b), a - b)


def test_preference_costs_least_where_scores_are_the_opinions() -> None:
    values = torch.randn(6)
    preference = Preference()
    best = preference.loss(values / 1.4, values, 1.4)
    for scores in (torch.zeros(6), -values, 3 * values):
        assert preference.loss(scores, values, 1.4).item() > best.item()
