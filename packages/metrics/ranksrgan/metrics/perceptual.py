"""What LPIPS and DISTS have in common: a frozen network that looks at image and reference."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidCheckpoint,
    InvalidInput,
    MissingAsset,
)
from ranksrgan.contracts.image_tensor import check_gradient_size, far_outside, wants_gradient
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.full_reference import FullReferenceScorer, check_shapes
from ranksrgan.metrics.image_gradient import gradient_one_by_one
from ranksrgan.metrics.luma import check_layout, shave

#: Pixels of one image: VGG16 holds 256 bytes for each in one layer alone.
MAX_PIXELS = 2**24
#: Likewise with a gradient, which keeps all layers.
MAX_GRADIENT_PIXELS = 2**22


class PerceptualNetwork(nn.Module):
    """Distance of an image from its reference: from ``(1, 3, H, W)`` in [0, 1] each to a float64.

    Attributes:
        metric: its name in messages.
        min_side: of an image.
    """

    metric: ClassVar[str]
    min_side: int

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        raise NotImplementedError


class PerceptualScorer(FullReferenceScorer):
    """A perceptual network as a `DifferentiableScorer`.

    Its network is loaded when the first score is wanted, once in a process, and computes where the
    images are, in float32; a GPU that multiplies in TF32, PyTorch's default, is good to three
    digits. `info` needs no network: without its files the hash of the parameters is empty.
    """

    differentiable = True

    @property
    def info(self) -> ScorerInfo:
        return replace(super().info, parameters_hash=self._parameters_hash())

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate; see `DifferentiableScorer.gradient`.

        Raises:
            ImageTooLarge: an image of more than `MAX_GRADIENT_PIXELS`.
            InvalidInput: uint8, and whatever `score` refuses.
        """
        return gradient_one_by_one(self.score, images, self._checked(references))

    def _network(self) -> PerceptualNetwork:
        raise NotImplementedError

    def _parameters_hash(self) -> str:
        try:
            return _hash(self._network())
        except (MissingAsset, InvalidCheckpoint):
            return ""


def distances(
    network: PerceptualNetwork, images: Tensor, references: Tensor, border: int
) -> Tensor:
    """The network's distance of each image from its reference, one pair at a time.

    Args:
        network: frozen, on the CPU, placed as `ranksrgan.contracts.device.place` does.
        images: ``(N, 3|1, H, W)`` uint8 or floating point in [0, 1]; what overshoots that range, as
            the output of a generator in training does, is looked at as it is. Grey counts as three
            equal channels.
        references: of the same shape.
        border: pixels to leave out on every side.

    Returns:
        ``(N,)`` float64 on the device of ``images``, with gradients to both if they want one.

    Raises:
        InvalidInput: another shape or type, NaN, values far outside [0, 1], or the two differ in
            size.
        ImageTooSmall: too small for the network without the border.
        ImageTooLarge: more than `MAX_PIXELS`, or than `MAX_GRADIENT_PIXELS` where a gradient is
            wanted.
    """
    check_shapes(images, references)
    _check(images, "images")
    _check(references, "references")
    height, width = (side - 2 * border for side in images.shape[2:])
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(
            f"{height} x {width} pixels are too many for {network.metric}: it takes {MAX_PIXELS}",
            field="images",
        )
    images, references = shave(images, border), shave(references.to(images.device), border)
    if wants_gradient(images, references):
        check_gradient_size(images, MAX_GRADIENT_PIXELS, network.metric)
    if min(height, width) < network.min_side:
        raise ImageTooSmall(
            f"{height} x {width} pixels are too few for {network.metric}: {network.min_side} x "
            f"{network.min_side} are wanted",
            field="images",
        )
    here = _on(network, images.device)
    found = []
    # Full precision whatever the training around it computes in.
    with torch.autocast(images.device.type, enabled=False):
        for image, reference in zip(images, references, strict=True):
            cancellation.check()
            found.append(here(_prepare(image), _prepare(reference)))
    return torch.stack(found)


def _prepare(image: Tensor) -> Tensor:
    """``(1, 3, H, W)`` float32 in one layout, which decides the kernels and so the last bits."""
    return as_float(image[None]).contiguous(memory_format=torch.channels_last)


def _check(images: Tensor, field: str) -> None:
    check_layout(images, field)
    if images.dtype == torch.uint8:
        return
    if extremes := far_outside(images):
        low, high = extremes
        raise InvalidInput(
            f"{field} holds values from {low:g} to {high:g}; floating-point images are in [0, 1]",
            field=field,
        )


@lru_cache(maxsize=8)
def _on(network: PerceptualNetwork, device: torch.device) -> PerceptualNetwork:
    if device.type == "cpu":
        return network
    with making_networks():
        return place(copy.deepcopy(network), device)


@lru_cache(maxsize=8)
def _hash(network: PerceptualNetwork) -> str:
    return hash_tensors(network.state_dict())
